//! Checkpoint: CRIU's images of a running container.

use std::fs;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::CheckpointTaskRequest;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, UnknownValueRef};
use containerd_shim_protos::shim::oci::CheckpointOptions;

use super::Container;
use super::state::Operation;
use crate::containerd::message_type::{RUNC, any_is};
use crate::error::{Error, Result};
use crate::runtime::CheckpointArgs;

impl Container {
    /// Writes the images, and ends the container where the options say so. No event: what has ended
    /// is told by its exit.
    pub async fn checkpoint(&self, request: &CheckpointTaskRequest) -> Result<()> {
        let options = decode(request.options.as_ref())?;
        let _operation = self.operation.lock().await;
        self.allows(Operation::Checkpoint)?;
        let image = self.image_path(request, &options)?;
        let work = WorkDir::new(&options.work_path, &self.bundle);
        let args = CheckpointArgs {
            image: &image,
            parent: parent_path(&options),
            work: &work.path,
            leave_running: !options.exit,
            options: &options,
        };
        let Err(e) = self.runtime.checkpoint(args).await else {
            return Ok(());
        };
        // The work directory may be gone in a moment.
        let log = self.bundle.join("criu-dump.log");
        if let Err(e) = fs::copy(work.path.join("dump.log"), &log) {
            log::error!(id = self.id.as_str(); "copy CRIU's dump.log to {}: {e}", log.display());
        }
        let source = Box::new(e);
        Err(Error::Checkpoint { source, log })
    }

    /// As the request says; containerd fills that in for `io.containerd.runc.v2` only.
    fn image_path(
        &self,
        request: &CheckpointTaskRequest,
        options: &CheckpointOptions,
    ) -> Result<PathBuf> {
        let paths = [
            &request.path,
            &options.image_path,
            &self.options.criu_image_path,
        ];
        let path = paths.into_iter().find(|path| !path.is_empty());
        path.map(PathBuf::from)
            .ok_or_else(|| Error::InvalidArgument("no path for the checkpoint's images".to_owned()))
    }
}

/// The package of the options that containerd's 1.x client sends a runtime that is not called `io.containerd.runc…`
/// (`ctr tasks checkpoint`). Its `CheckpointOptions` differ in one thing: `work_path` is 8 and `image_path` is 9.
const OLD_RUNC: &str = "containerd.linux.runc";

fn decode(any: Option<&Any>) -> Result<CheckpointOptions> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
        return Ok(CheckpointOptions::default());
    };
    let is_old = any_is::<CheckpointOptions>(any, OLD_RUNC);
    if !is_old && !any_is::<CheckpointOptions>(any, RUNC) {
        return Err(Error::InvalidArgument(format!(
            "checkpoint options of type {:?} are not supported: expected containerd.runc.v1.CheckpointOptions",
            any.type_url
        )));
    }
    let mut options = CheckpointOptions::parse_from_bytes(&any.value)
        .map_err(|e| Error::InvalidArgument(format!("checkpoint options {}: {e}", any.type_url)))?;
    if is_old {
        std::mem::swap(&mut options.image_path, &mut options.work_path);
    }
    Ok(options)
}

/// `parent_path` of 2.4, which the protos crate does not have.
const PARENT_PATH: u32 = 10;

/// Where the images are that the checkpoint's are to build on.
fn parent_path(options: &CheckpointOptions) -> Option<&str> {
    match options.special_fields.unknown_fields().get(PARENT_PATH) {
        Some(UnknownValueRef::LengthDelimited(path)) => {
            str::from_utf8(path).ok().filter(|path| !path.is_empty())
        }
        _ => None,
    }
}

/// Where CRIU works: kept where the client names it, else below the bundle and gone afterwards.
struct WorkDir {
    path: PathBuf,
    own: bool,
}

impl WorkDir {
    fn new(named: &str, bundle: &Path) -> Self {
        match named {
            "" => Self {
                path: bundle.join("work/criu-work"),
                own: true,
            },
            path => Self {
                path: path.into(),
                own: false,
            },
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.own {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_another_type_are_refused_by_name() {
        let any = |type_url: &str, value| Any {
            type_url: type_url.to_owned(),
            value,
            ..Any::default()
        };
        let value = CheckpointOptions {
            exit: true,
            ..Default::default()
        }
        .write_to_bytes()
        .unwrap();
        let name = "containerd.runc.v1.CheckpointOptions";
        assert!(decode(Some(&any(name, value.clone()))).unwrap().exit);
        assert!(!decode(None).unwrap().exit);
        let error = decode(Some(&any("containerd.runc.v1.Options", value))).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
        assert!(decode(Some(&any(name, vec![8]))).is_err());
    }

    #[test]
    fn the_parent_of_the_images_is_read() {
        // exit, parent_path.
        for (value, parent) in [
            (vec![8, 1, 82, 2, b'/', b'p'], Some("/p")),
            (vec![8, 1, 82, 0], None),
            (vec![8, 1], None),
        ] {
            let any = Any {
                type_url: "containerd.runc.v1.CheckpointOptions".to_owned(),
                value,
                ..Any::default()
            };
            assert_eq!(parent_path(&decode(Some(&any)).unwrap()), parent);
        }
    }

    #[test]
    fn what_ctr_sends_to_a_runtime_that_is_not_called_runc_is_read() {
        // exit, file_locks, work_path, image_path.
        let value = vec![8, 1, 40, 1, 66, 2, b'/', b'w', 74, 2, b'/', b'i'];
        for prefix in ["", "types.containerd.io/"] {
            let any = Any {
                type_url: format!("{prefix}containerd.linux.runc.CheckpointOptions"),
                value: value.clone(),
                ..Any::default()
            };
            let options = decode(Some(&any)).unwrap();
            assert!(options.exit && options.file_locks);
            assert_eq!((&*options.image_path, &*options.work_path), ("/i", "/w"));
        }
    }
}
