//! Runs another program for what it prints, for a limited time.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use crate::facts::FactError;
use rustix::process::{Pid, Signal, kill_process_group};

/// Most that a program may print.
const MOST_OUTPUT: u64 = 16 << 20;
/// Most characters that are kept of what a program says when it fails.
const MOST_OF_COMPLAINT: usize = 300;
/// Where programs are looked for, and nowhere else: what the caller's `PATH` leads to may be anybody's, and it would run
/// with all that the tracer may do.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
/// How long a program that was killed has to be gone.
const LAST_MOMENT: Duration = Duration::from_millis(100);

/// Finds a program in the system's own folders.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let mut programs = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    programs.find(|program| {
        let meta = program.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// What the program prints. It runs in the thread's network namespace, without input and with no environment but the plain
/// locale, and is killed, with what it started, when it takes longer than `limit` or until after `until`.
pub(super) fn output(
    program: &Path,
    arguments: &[&str],
    limit: Duration,
    until: Instant,
) -> Result<String, FactError> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let said = |why: &dyn std::fmt::Display| format!("{name}: {why}");
    let late = |why: &dyn std::fmt::Display| FactError::TimedOut(said(why));
    let limit = limit.min(until.saturating_duration_since(Instant::now()));
    if limit.is_zero() {
        return Err(late(&"no time left"));
    }
    let until = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        // A group of its own: interrupting the tracer does not interrupt it, and what it starts ends with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| FactError::io(&name, &e))?;
    let slow = || format!("took over {} ms", limit.as_millis());
    let printed = printed(&mut child, until).map_err(|why| match why {
        Some(why) => FactError::Other(said(&why)),
        None => late(&slow()),
    });
    // One that has closed its outputs need not have ended.
    let ended = match &printed {
        Ok(_) => ended(&mut child, until),
        Err(_) => None,
    };
    if ended.is_none() {
        kill(&mut child);
    }
    let (out, err) = printed?;
    let ended = ended.ok_or_else(|| late(&slow()))?;
    if !ended.success() {
        let line = err.lines().find(|line| !line.trim().is_empty());
        let words = line.map_or_else(|| said(&ended), |line| said(&clipped(line.trim())));
        return Err(words.into());
    }
    Ok(out)
}

/// A complaint of bearable length: some quote what they are about, a whole rule for one.
fn clipped(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(MOST_OF_COMPLAINT) {
        Some((end, _)) => format!("{}…", &line[..end]).into(),
        None => line.into(),
    }
}

/// How the child ended, if it does until then.
fn ended(child: &mut Child, until: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => sleep(Duration::from_millis(1)),
            Ok(ended) => return ended,
            Err(_) => return None,
        }
    }
}

/// Ends the child and what it started. One that hangs in the kernel is left behind.
fn kill(child: &mut Child) {
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        // Gone already, else.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if ended(child, Instant::now() + LAST_MOMENT).is_none() {
        log::debug!("process {} does not end", child.id());
    }
}

/// What the child prints to its two outputs until it closes them; an error without words is about time.
fn printed(child: &mut Child, until: Instant) -> Result<(String, String), Option<String>> {
    let (tell, told) = channel();
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for (index, pipe) in outputs.into_iter().enumerate() {
        let (Some(pipe), tell) = (pipe, tell.clone()) else {
            continue;
        };
        let reads = move || {
            let mut bytes = Vec::new();
            let read = pipe.take(MOST_OUTPUT + 1).read_to_end(&mut bytes);
            // Nobody listens any more when it took too long.
            let _ = tell.send((index, read.map(|_| bytes)));
        };
        let thread = Builder::new().name("facts-child".into()).spawn(reads);
        thread.map_err(|e| Some(e.to_string()))?;
    }
    drop(tell);
    let mut texts = [String::new(), String::new()];
    for _ in 0..texts.len() {
        let left = until.saturating_duration_since(Instant::now());
        let (index, bytes) = told.recv_timeout(left).map_err(|_| None)?;
        let bytes = match bytes {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(Some(e.to_string())),
            bytes => bytes.unwrap_or_default(),
        };
        if bytes.len() as u64 > MOST_OUTPUT {
            return Err(Some(format!("printed over {} MiB", MOST_OUTPUT >> 20)));
        }
        texts[index] = String::from_utf8_lossy(&bytes).into_owned();
    }
    let [out, err] = texts;
    Ok((out, err))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: u64) -> Result<String, String> {
        let until = Instant::now() + Duration::from_secs(20);
        let shell = find("sh").expect("a shell");
        output(&shell, &["-c", script], Duration::from_millis(limit), until).map_err(String::from)
    }

    #[test]
    fn output_or_the_first_complaint() {
        assert_eq!(shell("echo a; echo b >&2", 10_000), Ok("a\n".into()));
        let failed = shell("echo; echo no good >&2; echo more >&2; exit 3", 10_000);
        assert_eq!(failed, Err("sh: no good".into()));
        assert_eq!(shell("exit 3", 10_000), Err("sh: exit status: 3".into()));
        let long = shell("printf %1000s | tr ' ' ä >&2; exit 1", 10_000).expect_err("failed");
        assert!(long.chars().count() < 310 && long.ends_with('…'), "{long}");
        assert_eq!(
            shell("echo $HOME; read x; echo \"[$x]\"", 10_000),
            Ok("\n[]\n".into())
        );
    }

    #[test]
    fn a_slow_program_is_killed() {
        let before = Instant::now();
        assert_eq!(
            shell("exec sleep 30", 50),
            Err("sh: took over 50 ms".into())
        );
        assert!(before.elapsed() < Duration::from_secs(10));
        let past = Instant::now();
        let result = output(Path::new("/bin/true"), &[], Duration::from_secs(1), past);
        assert_eq!(
            result,
            Err(FactError::TimedOut("true: no time left".into()))
        );
    }

    #[test]
    fn a_program_that_only_closes_its_outputs_is_killed() {
        let before = Instant::now();
        let printed = shell("exec >&- 2>&-; exec sleep 30", 50);
        assert_eq!(printed, Err("sh: took over 50 ms".into()));
        // What it started keeps the outputs open, and ends with it.
        let printed = shell("sleep 30 & echo $!; sleep 30", 50);
        assert_eq!(printed, Err("sh: took over 50 ms".into()));
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn programs_are_looked_for_in_the_systems_folders_only() {
        assert!(find("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find("no-such-program"), None);
        assert_eq!(find("../../etc/passwd"), None, "no program");
        let locale = shell("env", 10_000).expect("printed");
        assert!(locale.lines().any(|line| line == "LC_ALL=C"), "{locale}");
        assert!(!locale.contains("CARGO"), "{locale}");
    }
}
