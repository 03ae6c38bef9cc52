//! Tells who selects what is not there that nothing will be shown for now.

use std::thread;

use crate::{attach::load::Settings, facts::reader::selected::absent};

/// Looks aside and warns; the session does not wait for it.
pub(super) fn look_aside(settings: &Settings) {
    let (netns, dev) = (settings.netns, settings.dev.clone());
    if netns.is_none() && dev.is_none() {
        return;
    }
    let look = move || {
        if let Some(why) = absent(netns, dev.as_deref()) {
            log::warn!("{why}: there may be nothing to show");
        }
    };
    if let Err(e) = thread::Builder::new().name("selected".into()).spawn(look) {
        log::debug!("looking for what is selected: {e}");
    }
}
