//! The root of the cgroup2 tree.

use std::{fs, fs::File, io};

use rustix::{
    fs::{Mode, OFlags, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

/// Opens it. Where it is not mounted for us (`ip netns exec` hides it behind a sysfs of its own), it is
/// mounted for this descriptor alone: nobody else sees that, and closing it is all the cleaning up there is
/// (fsopen, kernel 5.2 and later).
pub fn root() -> io::Result<File> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mounted = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| path.to_owned())
    });
    if let Some(path) = mounted {
        return File::open(path);
    }
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mount = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(mount, ".", flags, Mode::empty())?.into())
}
