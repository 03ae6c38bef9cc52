//! Children of the test program: the same binary under another name.
//!
//! A scenario needs real other processes: one that lives in the pod's namespace and answers health
//! probes, one that writes a sysctl, one that answers a packet queue ([`queue`]). They are this
//! executable with a hidden subcommand, so a VM needs nothing but the one static file. They die with
//! their parent.

use std::ffi::CString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::netns::Netns;

pub mod queue;

/// What a child does; not meant for people.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Answers HTTP health probes as long as it lives.
    Pod {
        /// The name it shows as its own.
        comm: String,
        /// The port it listens on.
        port: u16,
    },
    /// Writes a value to a file, once.
    Write {
        /// The name it shows as its own.
        comm: String,
        /// The file.
        path: String,
        /// The value.
        value: String,
    },
    /// Answers the packets of a queue (NFQUEUE) as long as it lives.
    Queue(queue::Options),
}

/// Plays the role; the entry point of a child.
pub fn play(role: Role) -> Result<()> {
    die_with_parent();
    match role {
        Role::Pod { comm, port } => {
            name_myself(&comm);
            serve(port)
        }
        Role::Write { comm, path, value } => {
            name_myself(&comm);
            fs::write(&path, value).with_context(|| format!("writing {path}"))
        }
        Role::Queue(options) => {
            name_myself(&options.comm);
            queue::serve(&options)
        }
    }
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Helper {
    child: Child,
}

impl Helper {
    /// Starts a server in `netns` and waits until it listens.
    pub fn pod(netns: &Netns, comm: &str, port: u16) -> Result<Self> {
        let mut child = myself(netns)?
            .args(["helper", "pod", comm, &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the pod's process")?;
        let mut told = [0_u8; 1];
        let stdout = child.stdout.as_mut().context("no stdout")?;
        stdout
            .read_exact(&mut told)
            .context("the pod's process did not start listening")?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file from a child process called `comm` inside `netns`; returns the child's pid.
pub fn write_as(netns: &Netns, comm: &str, path: &str, value: &str) -> Result<u32> {
    let mut child = myself(netns)?
        .args(["helper", "write", comm, path, value])
        .spawn()?;
    let pid = child.id();
    let status = child.wait()?;
    ensure!(status.success(), "writing {value} to {path}: {status}");
    Ok(pid)
}

fn myself(netns: &Netns) -> Result<Command> {
    netns.command(std::env::current_exe().context("where is my own executable?")?)
}

fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    std::io::stdout().write_all(b"!")?;
    std::io::stdout().flush()?;
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
    }
    Ok(())
}

fn die_with_parent() {
    // SAFETY: takes a number, touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn name_myself(comm: &str) {
    if let Ok(name) = CString::new(comm) {
        // SAFETY: `name` is a live NUL-terminated string; the kernel copies at most 16 bytes of it.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}
