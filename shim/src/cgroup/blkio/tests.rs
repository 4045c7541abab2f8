use std::fs;

use super::*;

const PARTITIONS: &str = "\
major minor  #blocks  name

 254        0  268435456 vda
   8        0  500107608 sda
   8        0  500107608 sda-again
";
const THROTTLE: &str = "\
254:0 Read 4096
254:0 Write 8192
254:0 Sync 4096
254:0 Async 8192
254:0 Discard 0
254:0 Total 12288
7:3 Read 512
Total 12800
";

fn entry(op: &str, device: &str, major: u64, minor: u64, value: u64) -> BlkIOEntry {
    let (op, device) = (op.to_owned(), device.to_owned());
    BlkIOEntry {
        op,
        device,
        major,
        minor,
        value,
        ..Default::default()
    }
}

fn stats_of(files: &[(&str, &str)]) -> Option<BlkIOStat> {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("partitions"), PARTITIONS).unwrap();
    for (name, text) in files {
        fs::write(root.path().join(name), text).unwrap();
    }
    stats(root.path(), root.path()).unwrap()
}

#[test]
fn the_total_of_a_device_is_an_entry_and_that_of_all_devices_is_not() {
    let stats = stats_of(&[
        ("blkio.throttle.io_service_bytes", THROTTLE),
        ("blkio.throttle.io_serviced", "Total 0\n"),
    ]);
    let expected = [
        entry("Read", "/dev/vda", 254, 0, 4096),
        entry("Write", "/dev/vda", 254, 0, 8192),
        entry("Sync", "/dev/vda", 254, 0, 4096),
        entry("Async", "/dev/vda", 254, 0, 8192),
        entry("Discard", "/dev/vda", 254, 0, 0),
        entry("Total", "/dev/vda", 254, 0, 12288),
        entry("Read", "", 7, 3, 512),
    ];
    assert_eq!(stats.unwrap().io_service_bytes_recursive, expected);
}

#[test]
fn cfq_counters_are_preferred_and_keep_apart() {
    let stats = stats_of(&[
        ("blkio.io_serviced_recursive", "8:0 Read 1\nTotal 1\n"),
        ("blkio.io_service_bytes_recursive", "8:0 Read 2\nTotal 2\n"),
        ("blkio.io_queued_recursive", "8:0 Read 3\nTotal 3\n"),
        ("blkio.io_service_time_recursive", "8:0 Read 4\nTotal 4\n"),
        ("blkio.io_wait_time_recursive", "8:0 Read 5\nTotal 5\n"),
        ("blkio.io_merged_recursive", "8:0 Read 6\nTotal 6\n"),
        ("blkio.time_recursive", "8:0 7\n"),
        ("blkio.sectors_recursive", "8:0 8\n"),
        ("blkio.throttle.io_serviced", "8:0 Read 99\nTotal 99\n"),
    ]);
    let mut stats = stats.unwrap();
    assert_eq!(
        stats.io_serviced_recursive,
        [entry("Read", "/dev/sda", 8, 0, 1)]
    );
    assert_eq!(stats.io_time_recursive, [entry("", "/dev/sda", 8, 0, 7)]);
    let values: Vec<u64> = lists(&mut stats).iter().map(|list| list[0].value).collect();
    assert_eq!(values, [2, 1, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn empty_cfq_counters_give_way_to_those_of_the_throttle_policy() {
    let stats = stats_of(&[
        ("blkio.io_serviced_recursive", "Total 0\n"),
        ("blkio.throttle.io_serviced", "8:0 Read 99\nTotal 99\n"),
    ]);
    assert_eq!(
        stats.unwrap().io_serviced_recursive,
        [entry("Read", "/dev/sda", 8, 0, 99)]
    );
}

#[test]
fn an_idle_container_has_an_empty_message_and_one_without_the_files_none() {
    assert_eq!(
        stats_of(&[("blkio.throttle.io_serviced", "Total 0\n")]),
        Some(BlkIOStat::new())
    );
    assert_eq!(stats_of(&[]), None);
}

#[test]
fn malformed_lines_are_errors() {
    for bad in [
        "8:0",
        "8 Read 1",
        "8:x Read 1",
        "8:0 Read x",
        "8:0 Read max",
        "",
    ] {
        assert_eq!(
            parse(&format!("{bad}\n")),
            Err(Malformed::new(bad)),
            "{bad:?}"
        );
    }
}
