use super::*;

#[test]
fn a_sysctl_is_written_with_either_separator() {
    for (name, path) in [
        ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        (
            "net.ipv4.conf.eth0/1.forwarding",
            "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
        ),
        (
            "net/ipv4/conf/eth0.1/forwarding",
            "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
        ),
    ] {
        assert_eq!(sysctl_path(name), path);
    }
}

#[test]
fn every_step_has_a_number_of_its_own() {
    for number in (0..15).chain([100, u32::MAX]) {
        assert_eq!(Step::of(number).map(|step| step as u32), Some(number));
    }
    assert_eq!(Step::of(15), None);
}
