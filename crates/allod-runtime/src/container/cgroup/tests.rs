//! Both versions are recognised, and the second one is driven against a look-alike tree.

use super::*;

const HYBRID: &str = "\
28 20 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
29 28 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
30 28 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 28 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
32 28 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
const UNIFIED: &str = "29 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn hybrid_counts_as_the_first_version() {
    let hierarchy = Hierarchy::from_mounts(HYBRID).unwrap();
    assert_eq!(hierarchy.version(), CgroupVersion::V1);
    // cpu and cpuacct share one directory, which is named once.
    assert_eq!(hierarchy.directories("g").len(), 3);
}

#[test]
fn unified_is_the_second_version_and_nothing_is_an_error() {
    let hierarchy = Hierarchy::from_mounts(UNIFIED).unwrap();
    assert_eq!(hierarchy, Hierarchy::V2(PathBuf::from("/sys/fs/cgroup")));
    assert!(Hierarchy::from_mounts("").is_err());
}

#[test]
fn limits_are_written_where_the_second_version_expects_them() {
    let root = tempfile::tempdir().unwrap();
    for directory in [root.path().to_owned(), root.path().join("allod-x")] {
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("cgroup.controllers"), "cpu memory pids").unwrap();
        std::fs::write(directory.join("cgroup.subtree_control"), "cpu").unwrap();
    }
    let group = Hierarchy::V2(root.path().to_owned()).group("allod-x/w");
    group
        .create(&Resources {
            cpu_milli: 1_500,
            memory_bytes: 64 << 20,
            pids: 9,
        })
        .unwrap();
    let read =
        |file: &str| std::fs::read_to_string(root.path().join("allod-x/w").join(file)).unwrap();
    assert_eq!(read("memory.max"), "67108864");
    assert_eq!(read("memory.swap.max"), "0");
    assert_eq!(read("pids.max"), "9");
    assert_eq!(read("cpu.max"), "150000 100000");
    assert_eq!(read("cpu.weight"), "59");
    let control = std::fs::read_to_string(root.path().join("allod-x/cgroup.subtree_control"));
    assert_eq!(control.unwrap(), "+pids");
}

#[test]
fn weights_stay_in_range() {
    assert_eq!(weight_v2(1), 1);
    assert_eq!(weight_v2(u32::MAX), 10_000);
    assert_eq!(shares_v1(1_000), 1_024);
}
