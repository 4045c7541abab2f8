//! What the verb `start` prints.

use containerd_shim_protos::bootstrap_api::BootstrapResult;
use containerd_shim_protos::protobuf::Message;
use serde_json::Value;

/// The version of the task service and the address of the shim, from JSON, from the message of containerd 2.3, or from the
/// bare address of the shims before.
#[must_use]
pub fn parse(output: &[u8]) -> (i64, String) {
    if let Ok(reply) = serde_json::from_slice::<Value>(output) {
        let address = reply["address"].as_str().unwrap_or_default();
        return (reply["version"].as_i64().unwrap_or(2), address.to_owned());
    }
    if let Ok(reply) = BootstrapResult::parse_from_bytes(output) {
        return (i64::from(reply.version), reply.address);
    }
    (2, String::from_utf8_lossy(output).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_the_answer_is_read() {
        let json = br#"{"version": 3, "address": "unix:///run/s", "protocol": "ttrpc"}"#;
        assert_eq!(parse(json), (3, "unix:///run/s".to_owned()));
        assert_eq!(parse(b"unix:///run/s\n"), (2, "unix:///run/s".to_owned()));
        let message = BootstrapResult {
            version: 3,
            address: "unix:///run/s".to_owned(),
            ..Default::default()
        };
        let bytes = message.write_to_bytes().expect("a message");
        assert_eq!(parse(&bytes), (3, "unix:///run/s".to_owned()));
    }
}
