//! rdma.current and rdma.max, the same in v1 and v2 (cgroup-v1/rdma.rst).

use super::error::Malformed;

/// A device's line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) device: String,
    pub(super) handles: u32,
    pub(super) objects: u32,
}

/// Parses `mlx4_0 hca_handle=2 hca_object=max` lines.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, Malformed> {
    text.lines()
        .map(|line| parse_line(line).ok_or_else(|| Malformed::new(line)))
        .collect()
}

fn parse_line(line: &str) -> Option<Entry> {
    let mut fields = line.split_ascii_whitespace();
    let mut entry = Entry {
        device: fields.next()?.to_owned(),
        handles: 0,
        objects: 0,
    };
    for field in fields {
        let (key, value) = field.split_once('=')?;
        let value = if value == "max" {
            u32::MAX
        } else {
            value.parse().ok()?
        };
        match key {
            "hca_handle" => entry.handles = value,
            "hca_object" => entry.objects = value,
            // A resource the metrics have no field for.
            _ => {}
        }
    }
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_is_the_largest_value() {
        let entries =
            parse("mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n");
        let entry = |device: &str, handles, objects| Entry {
            device: device.to_owned(),
            handles,
            objects,
        };
        assert_eq!(
            entries,
            Ok(vec![
                entry("mlx4_0", 2, 2000),
                entry("ocrdma1", 3, u32::MAX)
            ])
        );
    }

    #[test]
    fn a_malformed_line_is_an_error() {
        for bad in ["mlx4_0 hca_handle", "mlx4_0 hca_handle=-1", ""] {
            assert_eq!(parse(&format!("{bad}\n")), Err(Malformed::new(bad)));
        }
    }
}
