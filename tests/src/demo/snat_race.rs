//! The demo of `snat_race`: two clients behind MASQUERADE, the same source port, the same moment.

use anyhow::{Context as _, Result};

use super::stage::Stage;
use super::{step, tell};
use crate::lab::Lab;
use crate::scenarios::snat_race::case::{
    FIRST_PORT, all_blamed, grows_calm, until_lost, verdict_on_one,
};
use crate::scenarios::snat_race::{CAUSE, RACE};
use crate::topology::nat::{NODE_OUTSIDE_IP, Nat, POD_A_IP, POD_B_IP, WORLD_IP};
use crate::traffic::nat::Proto;
use crate::traffic::volley::{self, DPORT, PAIRS};

/// Plays it.
pub fn play(lab: &Lab) -> Result<()> {
    step("A node that masquerades, two pods, a server outside");
    let nat = Nat::build(RACE.rules)?;
    tell(&format!(
        "pods:  {POD_A_IP} and {POD_B_IP}\n\
         node:  iptables-legacy -t nat -A POSTROUTING -o eno1 -j MASQUERADE ({NODE_OUTSIDE_IP})\n\
         world: {WORLD_IP}, UDP port {DPORT}"
    ));

    let stage = Stage::start(lab, CAUSE, &nat.node, &[])?;

    step("Both pods send at once, each pair of datagrams from the same source port");
    let (lost, next) = until_lost(&nat, FIRST_PORT)?;
    let sent = next - FIRST_PORT;
    tell(&format!(
        "{} of {} datagrams never arrived; insert_failed rose by {}",
        lost.len(),
        2 * sent,
        nat.insert_failed()?
    ));
    let (verdict, _) = verdict_on_one(&stage.tracer, Proto::Udp, &lost)?;
    stage.cure(&verdict)?;

    step("The same again");
    let after = grows_calm(|number| {
        let lost = volley::two_clients(&nat, next + number * PAIRS)?.len();
        let sent = usize::from(2 * PAIRS);
        tell(&format!("{} of {sent} datagrams arrived", sent - lost));
        Ok(lost)
    })
    .context("the advice does not help")?;

    all_blamed(lab, &nat, stage.end()?)?;
    step(&format!(
        "lost before the change: {}; lost after it: {after}; all of them explained",
        lost.len()
    ));
    Ok(())
}
