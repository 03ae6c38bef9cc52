//! When things go wrong for the tracer itself: killed, without privileges, without BTF, misused.
//!
//! Exit codes are a contract: 2 usage, 3 not permitted, 4 unsupported kernel. Each comes with one
//! clear line on stderr.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{Kind, Scenario};
use crate::bench::bpf;
use crate::lab::Lab;
use crate::topology::seed::{Config, Seed};
use crate::traffic::flow::Flow;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill9",
        kind: Kind::Scenario,
        about: "kill -9 of the tracer leaves nothing attached",
        run: kill9,
    },
    Scenario {
        name: "no_privileges",
        kind: Kind::Scenario,
        about: "run by nobody: one line, exit code 3",
        run: no_privileges,
    },
    Scenario {
        name: "no_btf",
        kind: Kind::Scenario,
        about: "no type information: one line, exit code 4",
        run: no_btf,
    },
    Scenario {
        name: "bad_flag",
        kind: Kind::Scenario,
        about: "a flag that does not exist: named on the first line, exit code 2",
        run: bad_flag,
    },
    Scenario {
        name: "bad_capture",
        kind: Kind::Scenario,
        about: "replay of what is no capture: one line, exit code 5",
        run: bad_capture,
    },
    Scenario {
        name: "wrong_values",
        kind: Kind::Scenario,
        about: "values that cannot be: one line, exit code 2, and no file is touched",
        run: wrong_values,
    },
    Scenario {
        name: "hangup",
        kind: Kind::Scenario,
        about: "the terminal goes away: the books are closed, the ready file is removed",
        run: hangup,
    },
    Scenario {
        name: "file_limit",
        kind: Kind::Scenario,
        about: "a capture that may not grow: the ledger is printed, exit code 1",
        run: file_limit,
    },
    Scenario {
        name: "user_namespace",
        kind: Kind::Scenario,
        about: "root of a user namespace only: one line, exit code 3",
        run: user_namespace,
    },
    Scenario {
        name: "few_descriptors",
        kind: Kind::Scenario,
        about: "twelve descriptors: one line, and not the kernel's fault",
        run: few_descriptors,
    },
];

const NOBODY: u32 = 65_534;

fn kill9(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config {
        device: 1,
        ..Config::HEALTHY
    })?;
    let mut tracer = lab.explain(Some(&seed.node), &[])?;
    let flow = Flow::UdpToNode;
    ensure!(
        !flow.attempt(&seed)?,
        "the network is wrong: the packet arrived"
    );
    lab.verdict(&tracer, &flow.tuple())?;
    let ids = |kind| -> Result<BTreeSet<u32>> { bpf::ids(tracer.pid(), kind) };
    let (programs, links) = (ids("prog_id")?, ids("link_id")?);
    ensure!(
        !programs.is_empty(),
        "the tracer holds no BPF program: nothing to look for"
    );
    tracer.signal(Signal::SIGKILL)?;
    let ended = tracer.end()?;
    ensure!(!ended.status.success(), "it survived kill -9");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<u32> = programs
            .iter()
            .copied()
            .filter(|id| bpf::exists(bpf::Object::Program, *id))
            .collect();
        let linked: Vec<u32> = links
            .iter()
            .copied()
            .filter(|id| bpf::exists(bpf::Object::Link, *id))
            .collect();
        if left.is_empty() && linked.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("still in the kernel: programs {left:?}, links {linked:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn no_privileges(lab: &Lab) -> Result<()> {
    // Copied, because the folders above the binary may be closed to others.
    let folder = std::env::temp_dir().join(format!("dropwatch-nobody-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let binary = folder.join("dropwatch");
    fs::copy(lab.dropwatch(), &binary)?;
    for path in [&folder, &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let mut command = Command::new(&binary);
    command
        .arg("--explain")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY);
    let output = limited(&mut command);
    let _ = fs::remove_dir_all(&folder);
    one_line(&output?, 3, &["privilege", "permi", "root", "CAP_"])
}

fn no_btf(lab: &Lab) -> Result<()> {
    let mut command = lab.command(None, &[])?;
    command
        .arg("--explain")
        .env("DROPWATCH_BTF", "/nonexistent/btf");
    one_line(&limited(&mut command)?, 4, &["BTF"])
}

fn bad_flag(lab: &Lab) -> Result<()> {
    let output = limited(Command::new(lab.dropwatch()).arg("--frobnicate"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2),
        "{}, not exit code 2: {stderr}",
        output.status
    );
    let first = stderr.lines().next().unwrap_or_default();
    ensure!(
        first.contains("--frobnicate"),
        "the first line does not name the flag: {first:?}"
    );
    Ok(())
}

fn bad_capture(lab: &Lab) -> Result<()> {
    let path = lab.folder().join("no-capture");
    fs::write(&path, "this is no capture\n\u{0}\n")?;
    let output = limited(Command::new(lab.dropwatch()).arg("replay").arg(&path))?;
    one_line(&output, 5, &["no-capture", "capture"])
}

fn wrong_values(lab: &Lab) -> Result<()> {
    let theirs = lab.folder().join("theirs");
    fs::write(&theirs, "another's\n")?;
    let file = theirs.display().to_string();
    let folder = lab.folder().display().to_string();
    for (arguments, word) in [
        (&["--duration", "1e300"][..], "--duration"),
        (&["--duration", "99999999999999999999"], "--duration"),
        (&["--duration", "nan"], "--duration"),
        (&["--duration", "-1"], "--duration"),
        (&["--netns", ""], "--netns"),
        (&["--netns", "0"], "--netns"),
        (&["--netns", "1"], "--netns"),
        (&["--netns", "/etc/passwd"], "--netns"),
        (&["--netns", "/proc/self/ns/mnt"], "--netns"),
        (&["--cause", "rp_fliter"], "'rp_filter'"),
        (&["--ready-file", &file], "--ready-file"),
        (&["--record", &file, "--ready-file", &file], "same file"),
        (&["--record", &folder], "--record"),
    ] {
        let mut command = lab.command(None, &[])?;
        command.args(arguments);
        let output = limited(&mut command)?;
        // What is opened once everything is attached comes after the start line.
        let early = Output {
            stdout: Vec::new(),
            ..output
        };
        one_line(&early, 2, &[word]).with_context(|| format!("{arguments:?}"))?;
        ensure!(
            fs::read_to_string(&theirs)? == "another's\n",
            "{arguments:?} touched another's file"
        );
    }
    Ok(())
}

fn hangup(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config {
        device: 1,
        ..Config::HEALTHY
    })?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    let flow = Flow::UdpToNode;
    ensure!(
        !flow.attempt(&seed)?,
        "the network is wrong: the packet arrived"
    );
    lab.verdict(&tracer, &flow.tuple())?;
    tracer.signal(Signal::SIGHUP)?;
    // The ledger adds up, and a replay of the capture says the same.
    let finished = lab.finish(tracer)?;
    ensure!(
        finished.status.success(),
        "it ended with {}",
        finished.status
    );
    ensure!(
        !lab.folder().join("ready").exists(),
        "the ready file was left behind"
    );
    Ok(())
}

fn file_limit(lab: &Lab) -> Result<()> {
    let capture = lab.folder().join("limited.jsonl");
    let mut command = Command::new("/bin/sh");
    // Blocks of 512 bytes.
    command
        .args(["-c", "ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(lab.dropwatch())
        .args(["--explain", "-o", "json", "--duration", "0.5", "--record"])
        .arg(&capture);
    let output = limited(&mut command)?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // Where there are many probes, not even the first line of the capture fits: then there is no session.
    ensure!(
        printed.is_empty()
            || printed
                .lines()
                .last()
                .is_some_and(|line| line.contains("\"ledger\"")),
        "no ledger: {printed}"
    );
    let wordless = Output {
        stdout: Vec::new(),
        ..output
    };
    one_line(&wordless, 1, &["too large"])
}

fn user_namespace(lab: &Lab) -> Result<()> {
    let mut command = Command::new("unshare");
    command
        .args(["-U", "-r"])
        .arg(lab.dropwatch())
        .arg("--explain");
    one_line(&limited(&mut command)?, 3, &["user namespace"])
}

fn few_descriptors(lab: &Lab) -> Result<()> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -n 12; exec \"$0\" \"$@\""])
        .arg(lab.dropwatch())
        .arg("--explain");
    one_line(&limited(&mut command)?, 1, &["open files"])
}

fn one_line(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr = stderr.trim_end();
    ensure!(
        output.status.code() == Some(code),
        "{}, not exit code {code}; it said: {stderr}",
        output.status
    );
    ensure!(
        output.stdout.is_empty(),
        "something on stdout, where only results belong"
    );
    ensure!(stderr.lines().count() == 1, "not one line but: {stderr}");
    let named = words
        .iter()
        .any(|word| stderr.to_lowercase().contains(&word.to_lowercase()));
    ensure!(
        named,
        "the line says nothing of {}: {stderr}",
        words.join(" or ")
    );
    Ok(())
}

/// Runs a command that should end at once; kills it after a while when it does not.
fn limited(command: &mut Command) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting dropwatch")?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            let output = child.wait_with_output()?;
            bail!(
                "it did not end; it said: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(child.wait_with_output()?)
}
