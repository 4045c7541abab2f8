//! DNS settings (kubelet `pkg/kubelet/network/dns`), without a cluster's DNS server.

use k8s_cri::v1::DnsConfig;
use k8s_openapi::api::core::v1::Pod;

/// The sandbox's DNS settings; `None`: the node's resolv.conf as it is.
///
/// Without a cluster DNS server the kubelet too falls back from `ClusterFirst` to `Default`.
pub(super) fn config(pod: &Pod, resolv_conf: &str) -> Option<DnsConfig> {
    let spec = pod.spec.as_ref()?;
    let extra = spec.dns_config.as_ref()?;
    let mut dns = match spec.dns_policy.as_deref() {
        Some("None") => DnsConfig::default(),
        _ => parse(resolv_conf),
    };
    append(&mut dns.servers, extra.nameservers.iter().flatten());
    append(&mut dns.searches, extra.searches.iter().flatten());
    for option in extra.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        // An option of the pod replaces the node's (kubelet mergeDNSOptions).
        dns.options
            .retain(|o| o.split(':').next() != Some(name.as_str()));
        dns.options.push(match &option.value {
            Some(value) => format!("{name}:{value}"),
            None => name,
        });
    }
    Some(dns)
}

fn append<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn parse(resolv_conf: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in resolv_conf.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            // The last `search` line counts (resolv.conf(5)).
            Some("search") => dns.searches = words.map(str::to_owned).collect(),
            Some("options") => dns.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    dns
}
