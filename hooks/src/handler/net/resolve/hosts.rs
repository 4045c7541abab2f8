//! hosts(5). Pure.

use std::net::IpAddr;

/// Kept for one name.
const MAX_ADDRESSES: usize = 16;

/// The addresses that the file has for a name, in its order.
pub(super) fn lookup(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next() else {
            continue;
        };
        let named = |word: &str| {
            word.strip_suffix('.')
                .unwrap_or(word)
                .eq_ignore_ascii_case(name)
        };
        // One with a zone, or no address at all, is passed over.
        if words.any(named)
            && let Ok(address) = address.parse()
            && found.len() < MAX_ADDRESSES
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_line_counts_and_comments_do_not() {
        let text = "127.0.0.1\tlocalhost\n\
            # 10.0.0.9 db\n\
            10.0.0.1 db.shop.svc db  DB2 # www\n\
            fd00::1 db\n\
            10.0.0.1 db\n\
            nonsense db\n\
            fe80::1%eth0 db\n\
            \n   10.0.0.2   db.\n10.0.0.3";
        let lookup = |name| {
            let found: Vec<_> = lookup(text, name).iter().map(ToString::to_string).collect();
            found.join(" ")
        };
        assert_eq!(lookup("db"), "10.0.0.1 fd00::1 10.0.0.2");
        assert_eq!(lookup("DB.SHOP.svc."), "10.0.0.1");
        assert_eq!(lookup("db2"), "10.0.0.1");
        assert_eq!(lookup("www"), "");
        assert_eq!(lookup(""), "");
    }

    #[test]
    fn an_endless_list_is_cut() {
        let text: String = (0..1000)
            .map(|i| format!("10.0.{}.{} db\n", i / 256, i % 256))
            .collect();
        assert_eq!(lookup(&text, "db").len(), MAX_ADDRESSES);
    }
}
