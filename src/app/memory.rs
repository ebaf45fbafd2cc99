//! How much memory this process may have, and what of it goes where.
//!
//! The limits of the process (address space, data) and those of its control groups are read once, at the start; the
//! lowest counts. Where there is none, what is given out is fixed. An allocation that fails ends the process, so what
//! callers can make grow is bounded well below the limit, and they are refused as busy beyond.
//!
//! Never here: a limit that is set.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// Room for bodies that are read whole, where nothing limits memory: a quarter of a small machine's.
const BODIES_BYTES_MAX: u64 = 256 << 20;
/// The part of a limit that such bodies get: each may take twice its length while it grows, and the code, the stacks
/// of threads, the slow hash and the cache of the file are to be there beside them.
const BODIES_SHARE: u64 = 8;
/// The part of a limit that the cache of the file gets at most.
const STORE_CACHE_SHARE: u64 = 8;

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// What of the memory goes where, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Allotment {
    /// Bodies that are read whole, all together.
    pub(super) bodies_bytes_max: u64,
    /// Pages of the file.
    pub(super) store_cache_bytes: u64,
}

impl Allotment {
    /// Reads the limits and tells of them. `store_cache_bytes` is what was configured.
    pub(super) fn read(store_cache_bytes: u64) -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let of_groups = group_limit(&groups, Path::new(GROUPS));
        let of_process = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
        let limit = of_process.into_iter().chain([of_groups]).flatten().min();
        let allotment = Self::under(limit, store_cache_bytes);
        if let Some(limit) = limit.filter(|_| allotment != Self::under(None, store_cache_bytes)) {
            tracing::info!(
                memory_limit_bytes = limit,
                bodies_bytes = allotment.bodies_bytes_max,
                store_cache_bytes = allotment.store_cache_bytes,
                "memory is limited: bodies and the cache of the file get less"
            );
        }
        allotment
    }

    fn under(limit: Option<u64>, store_cache_bytes: u64) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self {
            bodies_bytes_max: BODIES_BYTES_MAX.min(limit / BODIES_SHARE),
            store_cache_bytes: store_cache_bytes.min(limit / STORE_CACHE_SHARE),
        }
    }
}

/// The lowest limit of the control groups that a process is in, by its `/proc/self/cgroup`; `None` when there is none.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (root, file) = match controllers {
            "" if number == "0" => (root.to_owned(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        // Each of the groups above limits it as well. In a container the path may be one outside of it; what counts
        // is then at the root.
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        groups
            .filter_map(|group| fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse().ok())
            .min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_a_group_and_those_above_it_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let put = |group: &str, file: &str, limit: &str| {
            let group = root.path().join(group);
            fs::create_dir_all(&group).unwrap();
            fs::write(group.join(file), limit).unwrap();
        };
        assert_eq!(group_limit("0::/a/b\n", root.path()), None, "there is nothing to be read");
        put("a/b", "memory.max", "max\n");
        assert_eq!(group_limit("0::/a/b\n", root.path()), None);
        put("a", "memory.max", "209715200\n");
        assert_eq!(group_limit("0::/a/b\n", root.path()), Some(200 << 20));
        put("a/b", "memory.max", "1048576\n");
        assert_eq!(group_limit("0::/a/b\n", root.path()), Some(1 << 20));
        assert_eq!(group_limit("0::/elsewhere\n", root.path()), None);
        put("memory/c", "memory.limit_in_bytes", "4096\n");
        assert_eq!(group_limit("7:cpu:/c\n3:memory:/c\n0::/\n", root.path()), Some(4096));
        assert_eq!(group_limit("no line of a group\n", root.path()), None);
    }

    #[test]
    fn without_a_limit_all_get_what_is_meant_for_them_and_with_one_a_part_of_it() {
        let of = |limit| Allotment::under(limit, 64 << 20);
        let free = Allotment { bodies_bytes_max: 256 << 20, store_cache_bytes: 64 << 20 };
        assert_eq!((of(None), of(Some(8 << 30))), (free, free));
        let tight = Allotment { bodies_bytes_max: 25 << 20, store_cache_bytes: 25 << 20 };
        assert_eq!(of(Some(200 << 20)), tight);
    }
}
