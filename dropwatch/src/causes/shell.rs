//! Commands of advice: ready for `sh -c`, run in the packet's network namespace.

use crate::facts::Netns;

/// A command, run in a namespace; as it is in the tracer's own. Where the way into it is not known, one that fails
/// before it changes anything.
#[must_use]
pub fn inside(netns: Option<&Netns>, command: &str) -> String {
    if netns.is_some_and(|n| n.own) {
        return command.to_owned();
    }
    let (name, path) = netns.map_or((&None, &None), |n| (&n.name, &n.path));
    let enter = match (name, path) {
        (Some(name), Some(path)) if path.starts_with("/run/netns/") => {
            format!("ip netns exec {}", quoted(name))
        }
        (_, Some(path)) => format!("nsenter --net={}", quoted(path)),
        // Fails, and changes nothing in another one.
        _ => {
            return format!(
                "false # to be run in the packet's network namespace, for which there is no path known: {command}"
            );
        }
    };
    // What enters a namespace starts one program: a pipe needs a shell of its own there.
    if command.contains(['|', '&', ';', '<', '>']) {
        format!("{enter} sh -c {}", quoted(command))
    } else {
        format!("{enter} {command}")
    }
}

/// A word for the shell, in quotes where it needs them.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_-.:@%+=".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_runs_whole_inside() {
        let netns = Netns {
            name: Some("pod".into()),
            path: Some("/run/netns/pod".into()),
            ..Netns::default()
        };
        assert_eq!(
            inside(Some(&netns), "ip route"),
            "ip netns exec pod ip route"
        );
        assert_eq!(
            inside(Some(&netns), "a 'b' | c"),
            r"ip netns exec pod sh -c 'a '\''b'\'' | c'"
        );
        let own = Netns { own: true, ..netns };
        assert_eq!(inside(Some(&own), "a | c"), "a | c");
    }

    #[test]
    fn without_a_way_in_nothing_is_run_outside() {
        for netns in [Some(&Netns::default()), None] {
            let command = inside(netns, "a");
            assert!(
                command.starts_with("false # ") && command.ends_with(": a"),
                "{command}"
            );
        }
    }
}
