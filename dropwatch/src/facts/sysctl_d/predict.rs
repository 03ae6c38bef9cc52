//! What a device that is created now will get for `rp_filter`.
//!
//! A new device first copies `conf.default` (Linux `net/ipv4/devinet.c`, `inetdev_init`), then
//! udev runs systemd-sysctl for it. Only the files are judged: a value written at run time
//! (`sysctl -w`) shows in `/proc/sys`, not here.

use serde::{Deserialize, Serialize};

use super::{ConfigFile, Place, Setting, UdevRule, resolve_full, rp_filter_key};

/// What the kernel starts `conf.default.rp_filter` with (Linux `net/ipv4/devinet.c`,
/// `ipv4_devconf_dflt`, which does not name it).
const KERNEL_DEFAULT: i64 = 0;

/// Where a new device's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A line that names or matches the device, applied by a udev rule.
    Udev {
        /// The line with the value.
        setting: Setting,
        /// The rule that applies it.
        rule: UdevRule,
    },
    /// Copied from `conf.default`, which this line sets.
    Inherited {
        /// The line that sets `conf.default`.
        setting: Setting,
    },
    /// Copied from `conf.default`, which no file sets.
    Kernel,
}

/// The value a new device will get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// Name of the device.
    pub device: String,
    /// The value; `None` if the line that decides holds no number.
    pub value: Option<i64>,
    /// Where it comes from.
    pub source: Source,
    /// An exclusion that keeps patterns away from the device.
    pub excluded_by: Option<Place>,
    /// A line for the device that is *not* applied when it is created, because no udev rule runs
    /// systemd-sysctl for it. It takes effect when systemd-sysctl runs the next time.
    pub not_applied: Option<Setting>,
}

/// Predicts `rp_filter` of a new device. The value in effect is the larger of this and
/// `conf.all` (Linux `include/linux/inetdevice.h`, `IN_DEV_RPFILTER`).
pub fn prediction(files: &[ConfigFile], udev: &[UdevRule], device: &str) -> Prediction {
    let key = rp_filter_key(device);
    let resolution = resolve_full(files, &key);
    let rule = udev
        .iter()
        .find(|rule| rule.applies_to(device) && rule.covers(device, &key));
    let excluded_by = resolution.excluded_by;
    let (source, not_applied) = match (resolution.setting, rule) {
        (Some(setting), Some(rule)) => (
            Source::Udev {
                setting,
                rule: rule.clone(),
            },
            None,
        ),
        (setting, _) => {
            let default = resolve_full(files, &rp_filter_key("default")).setting;
            (
                default.map_or(Source::Kernel, |setting| Source::Inherited { setting }),
                setting,
            )
        }
    };
    let value = match &source {
        Source::Udev { setting, .. } | Source::Inherited { setting } => setting.number(),
        Source::Kernel => Some(KERNEL_DEFAULT),
    };
    Prediction {
        device: device.to_owned(),
        value,
        source,
        excluded_by,
        not_applied,
    }
}
