//! Runs another program for what it prints, for a limited time.

use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Most that a program may print.
const MOST_OUTPUT: u64 = 16 << 20;
/// Where administrators' programs are, in case `PATH` does not say so.
const USUAL: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Finds a program in `PATH` or the usual folders.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    find_in(&std::env::var_os("PATH").unwrap_or_default(), name)
}

fn find_in(path: &OsString, name: &str) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).chain(USUAL.map(PathBuf::from));
    // What a folder like `.` holds is anybody's.
    let mut programs = folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name));
    programs.find(|program| {
        let meta = program.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// What the program prints. It runs in the thread's network namespace, without environment and input, and
/// is killed when it takes longer than `limit` or until after `until`.
pub(super) fn output(
    program: &Path,
    arguments: &[&str],
    limit: Duration,
    until: Instant,
) -> Result<String, String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let said = |why: &dyn std::fmt::Display| format!("{name}: {why}");
    let limit = limit.min(until.saturating_duration_since(Instant::now()));
    if limit.is_zero() {
        return Err(said(&"no time left"));
    }
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| said(&e))?;
    let result = printed(&mut child, limit);
    if result.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait().map_err(|e| said(&e))?;
    let (out, err) = result.map_err(|why| said(&why))?;
    if !ended.success() {
        let line = err.lines().find(|line| !line.trim().is_empty());
        return Err(line.map_or_else(|| said(&ended), |line| said(&line.trim())));
    }
    Ok(out)
}

/// What the child prints to its two outputs until it closes them.
fn printed(child: &mut Child, limit: Duration) -> Result<(String, String), String> {
    let until = Instant::now() + limit;
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
        thread.map_err(|e| e.to_string())?;
    }
    drop(tell);
    let mut texts = [String::new(), String::new()];
    for _ in 0..texts.len() {
        let left = until.saturating_duration_since(Instant::now());
        let (index, bytes) = told
            .recv_timeout(left)
            .map_err(|_| format!("took over {} ms", limit.as_millis()))?;
        let bytes = match bytes {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e.to_string()),
            bytes => bytes.unwrap_or_default(),
        };
        if bytes.len() as u64 > MOST_OUTPUT {
            return Err(format!("printed over {} MiB", MOST_OUTPUT >> 20));
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
        output(&shell, &["-c", script], Duration::from_millis(limit), until)
    }

    #[test]
    fn output_or_the_first_complaint() {
        assert_eq!(shell("echo a; echo b >&2", 10_000), Ok("a\n".into()));
        let failed = shell("echo; echo no good >&2; echo more >&2; exit 3", 10_000);
        assert_eq!(failed, Err("sh: no good".into()));
        assert_eq!(shell("exit 3", 10_000), Err("sh: exit status: 3".into()));
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
        assert_eq!(result, Err("true: no time left".into()));
    }

    #[test]
    fn programs_are_found_without_a_path() {
        assert!(find_in(&OsString::new(), "sh").is_some());
        assert_eq!(find_in(&"relative:.".into(), "no-such-program"), None);
        assert_eq!(
            find_in(&"/etc".into(), "nsswitch.conf"),
            None,
            "not executable"
        );
    }
}
