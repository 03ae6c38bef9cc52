//! Where to look at rules.

use crate::{
    facts::ruleset::{Backend, Chain},
    netfilter::Attribution,
};

/// Where it is not known whose rule it was.
pub const ALL: &str =
    "`nft list ruleset`, `iptables-save -c` for counters, `conntrack -S` if no rule fits";

/// The tables of iptables.
const TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// The command that shows the certain rule with its tool, or those that show all.
pub fn at_rules(attribution: &Attribution<'_>) -> String {
    let one = attribution.certain().and_then(|one| command(one.chain));
    one.unwrap_or_else(|| ALL.into())
}

fn command(chain: &Chain) -> Option<String> {
    // Names that others gave may hold what a shell, or the brackets of a hint, would take for something else.
    let plain = |name: &str| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_./- ".contains(c))
    };
    match chain.backend {
        Backend::Nft => (plain(&chain.table) && plain(&chain.name))
            .then(|| format!("`nft -a list chain {} {}`", chain.table, chain.name)),
        Backend::IptablesLegacy | Backend::IptablesNft => {
            let table = chain.table.rsplit(' ').next()?;
            let program = chain.program();
            TABLES
                .contains(&table)
                .then(|| format!("`{program}-save -c -t {table}` for its counter"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ruleset::Family;

    #[test]
    fn each_tool_shows_its_own_rules() {
        let of = |backend, family, table: &str, name: &str| {
            command(&Chain {
                backend,
                family,
                table: table.into(),
                name: name.into(),
                base: None,
                rules: Vec::new(),
            })
        };
        for (backend, family, table, shown) in [
            (
                Backend::Nft,
                Family::Inet,
                "inet fw",
                "`nft -a list chain inet fw in`",
            ),
            (
                Backend::IptablesLegacy,
                Family::Ip,
                "filter",
                "`iptables-legacy-save -c -t filter` for its counter",
            ),
            (
                Backend::IptablesLegacy,
                Family::Ip6,
                "ip6 filter",
                "`ip6tables-legacy-save -c -t filter` for its counter",
            ),
            (
                Backend::IptablesNft,
                Family::Ip,
                "ip mangle",
                "`iptables-nft-save -c -t mangle` for its counter",
            ),
        ] {
            assert_eq!(of(backend, family, table, "in").as_deref(), Some(shown));
        }
        assert_eq!(of(Backend::Nft, Family::Ip, "ip t", "c;reboot"), None);
        assert_eq!(of(Backend::Nft, Family::Ip, "ip t[ x]", "c"), None);
    }
}
