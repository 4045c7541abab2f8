//! containerd's clients keep the stop signal in a label of the container.

use std::io;
use std::path::Path;

use containerd_shim_protos::protobuf::{self, CodedInputStream, CodedOutputStream, rt};

use crate::containerd::grpc;

/// containerd's own name for it: ctr and nerdctl set it, for every container that has an image.
const LABEL: &str = "io.containerd.image.config.stop-signal";

const GET: &str = "/containerd.services.containers.v1.Containers/Get";

/// The label of container `id` of the containerd that listens at `socket`.
pub(crate) async fn stop_signal(
    socket: &Path,
    namespace: &str,
    id: &str,
) -> io::Result<Option<String>> {
    let metadata = [("containerd-namespace", namespace)];
    let answer = grpc::call(socket, GET, &metadata, &request(id)?).await?;
    Ok(label(&answer, LABEL)?)
}

/// `GetContainerRequest { string id = 1; }`
fn request(id: &str) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut output = CodedOutputStream::vec(&mut message);
    output.write_string(1, id)?;
    output.flush()?;
    drop(output);
    Ok(message)
}

/// From `GetContainerResponse { Container container = 1; }` with `Container { map<string, string> labels = 2; }`.
fn label(answer: &[u8], name: &str) -> protobuf::Result<Option<String>> {
    for container in fields(answer, 1)? {
        for entry in fields(&container, 2)? {
            let key = fields(&entry, 1)?.pop().unwrap_or_default();
            if key == name.as_bytes() {
                let value = fields(&entry, 2)?.pop().unwrap_or_default();
                return Ok(String::from_utf8(value).ok());
            }
        }
    }
    Ok(None)
}

/// The values of a field that is text, bytes or a message.
fn fields(message: &[u8], number: u32) -> protobuf::Result<Vec<Vec<u8>>> {
    const LENGTH_DELIMITED: u32 = 2;
    let mut input = CodedInputStream::from_bytes(message);
    let mut found = Vec::new();
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        if tag == number << 3 | LENGTH_DELIMITED {
            found.push(input.read_bytes()?);
        } else {
            rt::skip_field_for_tag(tag, &mut input)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        assert!(length < 128);
        [&[number << 3 | 2, length], value].concat()
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        let pair = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
        field(2, &pair)
    }

    #[test]
    fn a_label_is_found_among_others() {
        assert_eq!(request("c1").unwrap(), b"\n\x02c1");
        let labels = [entry("a", "b"), entry(LABEL, "SIGUSR1")].concat();
        // An id before, a number behind.
        let container = [field(1, b"c1"), labels, vec![9 << 3, 7]].concat();
        let answer = field(1, &container);
        assert_eq!(label(&answer, LABEL).unwrap().as_deref(), Some("SIGUSR1"));
        assert_eq!(label(&answer, "c").unwrap(), None);
        assert_eq!(label(b"", LABEL).unwrap(), None);
        assert!(label(&answer[..answer.len() - 1], LABEL).is_err());
    }
}
