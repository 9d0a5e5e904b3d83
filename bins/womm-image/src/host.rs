//! The host's files in the setup shell: below /mnt, read-only. Values, no I/O.
//!
//! A bind mount that is read-only leaves writable what is mounted below it. Docker can do it for all of that (API 1.44, on
//! Linux 5.12: mount_setattr(2)). Where it can't, each file system has a bind mount of its own, without what is below it.

use bollard::ClientVersion;
use bollard::models::{Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType};
use std::path::Path;

/// Where they are.
pub const HOST: &str = "/mnt";

/// The API with `ReadOnlyForceRecursive`. Source: Docker Engine API, version history.
const RECURSIVE_API: (usize, usize) = (1, 44);
const RECURSIVE_KERNEL: (u32, u32) = (5, 12);
/// File systems that hold no files of anybody's: the kernel's own, and those of other containers.
const NO_FILES: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// Where mounts come and go with sessions and containers: one that is gone by then would be a failure.
const NO_PLACES: &[&str] =
    &["/dev", "/proc", "/sys", "/run", "/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet"];

/// What must be known to mount them.
pub struct Known<'a> {
    /// The version in which Docker is spoken to.
    pub api: ClientVersion,
    /// The kernel that Docker runs on.
    pub kernel: &'a str,
    /// Where it keeps its own files.
    pub docker_root: &'a str,
    /// /proc/self/mountinfo (proc_pid_mountinfo(5)).
    pub mountinfo: &'a str,
}

/// The mounts.
pub fn mounts(known: &Known<'_>) -> Vec<Mount> {
    let api = (known.api.major_version, known.api.minor_version);
    if api >= RECURSIVE_API && version(known.kernel) >= Some(RECURSIVE_KERNEL) {
        let options = MountBindOptions {
            // Docker wants it said, else it refuses the other.
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            read_only_force_recursive: Some(true),
            ..Default::default()
        };
        return vec![mount("/", options)];
    }
    let alone = || MountBindOptions { non_recursive: Some(true), ..Default::default() };
    let below = file_systems(known.mountinfo, known.docker_root);
    std::iter::once("/").chain(below.iter().map(String::as_str)).map(|path| mount(path, alone())).collect()
}

fn mount(path: &str, options: MountBindOptions) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(path.to_owned()),
        target: Some(format!("{HOST}{}", path.trim_end_matches('/'))),
        read_only: Some(true),
        bind_options: Some(options),
        ..Default::default()
    }
}

/// "5.12.0-rc1" is (5, 12).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A line of mountinfo.
struct Line {
    id: u32,
    parent: u32,
    point: String,
    kind: String,
    options: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let (id, parent) = (mount.next()?.parse().ok()?, mount.next()?.parse().ok()?);
        let point = unescaped(mount.nth(2)?)?;
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?.to_owned();
        Some(Self { id, parent, point, kind, options: file_system.nth(1).unwrap_or_default().to_owned() })
    }

    /// Whether it is worth a mount, and Docker can look at it.
    fn has_files(&self, docker_root: &str) -> bool {
        let kind = self.kind.as_str();
        // Root may not look into those of users, unless they allow it.
        let is_private = (kind == "fuse" || kind.starts_with("fuse.")) && !self.options.contains("allow_other");
        let within = |place: &&str| Path::new(&self.point).starts_with(place);
        let elsewhere = NO_PLACES.iter().chain([&docker_root]).filter(|place| !place.is_empty()).any(within);
        !NO_FILES.contains(&kind) && !is_private && !elsewhere
    }
}

/// Undoes \040 and the like; none if it is not UTF-8 then, which JSON can't name.
fn unescaped(text: &str) -> Option<String> {
    let mut pieces = text.split('\\');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..3)?, 8).ok()?);
        bytes.extend_from_slice(&piece.as_bytes()[3..]);
    }
    String::from_utf8(bytes).ok()
}

/// Where file systems with files are mounted, outer ones first, without the outermost. Of what is mounted over another only
/// that which is seen; below one that is left out there is no place for another.
fn file_systems(mountinfo: &str, docker_root: &str) -> Vec<String> {
    let lines: Vec<_> = mountinfo.lines().filter_map(Line::parse).collect();
    let mut found = Vec::new();
    let outermost = lines.iter().find(|line| line.point == "/" && !lines.iter().any(|other| other.id == line.parent));
    let mut todo: Vec<_> = outermost.map(|line| top(&lines, line)).into_iter().collect();
    while let Some(line) = todo.pop() {
        let children: Vec<_> = lines.iter().filter(|other| other.parent == line.id && other.id != line.id).collect();
        let covers = |child: &Line, other: &Line| {
            child.point != other.point && Path::new(&child.point).starts_with(&other.point)
        };
        for child in children.iter().filter(|child| !children.iter().any(|other| covers(child, other))) {
            let seen = top(&lines, child);
            if seen.has_files(docker_root) {
                found.push(seen.point.clone());
                todo.push(seen);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What is seen where a file system is mounted: the last of those that were mounted there.
fn top<'a>(lines: &'a [Line], mut line: &'a Line) -> &'a Line {
    while let Some(over) = lines.iter().find(|o| o.parent == line.id && o.id != line.id && o.point == line.point) {
        line = over;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian has it: "/" is none of the first, for the initramfs had the others before.
    const MOUNTINFO: &str = "\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
23 28 0:21 / /proc rw shared:13 - proc proc rw
24 28 0:5 / /dev rw shared:2 - devtmpfs udev rw
27 28 0:23 / /run rw shared:5 - tmpfs tmpfs rw
28 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 24 0:26 / /dev/shm rw shared:3 - tmpfs tmpfs rw
40 28 253:17 / /home rw shared:30 - xfs /dev/vdb1 rw
41 40 0:40 / /home/a\\040b/nas rw shared:31 master:4 - nfs4 nas:/x rw
42 40 0:41 / /home/audrey/.gvfs rw - fuse.gvfsd-fuse gvfsd rw,user_id=1000
43 28 0:42 / /srv/pool rw - fuse.mergerfs pool rw,allow_other
44 28 0:43 / /tmp rw - tmpfs tmpfs rw
45 28 0:44 / /auto rw - autofs systemd-1 rw
46 45 253:33 / /auto rw - ext4 /dev/vdc1 rw
47 28 0:45 / /net rw - autofs auto.net rw
48 47 0:46 / /net/there rw - nfs there:/ rw
50 28 253:49 / /data/docker rw - ext4 /dev/vdd1 rw
51 50 0:50 / /data/docker/overlay2/0a/merged rw - overlay overlay rw
52 28 0:51 / /var/lib/kubelet/pods/1/volumes/x rw - tmpfs tmpfs rw
53 27 0:52 net:[4026532000] /run/netns/x rw - nsfs nsfs rw
54 28 253:65 / /opt/hidden/x rw - ext4 /dev/vde1 rw
55 28 253:66 / /opt/hidden rw - ext4 /dev/vdf1 rw
a line of a later kernel
";

    #[test]
    fn each_file_system_that_is_seen_has_files_and_is_in_one_that_has_is_found() {
        let found = file_systems(MOUNTINFO, "/data/docker");
        assert_eq!(found, ["/auto", "/home", "/home/a b/nas", "/opt/hidden", "/srv/pool", "/tmp"]);
        assert_eq!(file_systems("", ""), [""; 0]);
    }

    fn of(api: (usize, usize), kernel: &str) -> Vec<Mount> {
        let api = ClientVersion { major_version: api.0, minor_version: api.1 };
        mounts(&Known { api, kernel, docker_root: "/data/docker", mountinfo: MOUNTINFO })
    }

    #[test]
    fn nothing_below_it_can_be_written_to() {
        let whole = of((1, 44), "5.12.0-rc1");
        assert_eq!((whole.len(), whole[0].source.as_deref(), whole[0].target.as_deref()), (1, Some("/"), Some("/mnt")));
        assert_eq!(whole[0].bind_options.as_ref().and_then(|o| o.read_only_force_recursive), Some(true));
        for old in [of((1, 41), "6.1.0-18-amd64"), of((1, 44), "5.11.9"), of((2, 0), "?")] {
            assert_eq!(old.len(), 7);
            for mount in &old {
                let alone = mount.bind_options.as_ref().and_then(|options| options.non_recursive);
                assert_eq!((mount.read_only, alone), (Some(true), Some(true)), "{mount:?}");
            }
            assert_eq!(old[3].target.as_deref(), Some("/mnt/home/a b/nas"));
            assert_eq!(old[3].source.as_deref(), Some("/home/a b/nas"));
        }
    }
}
