//! Compiles the pod's holder, a program without a library, for the same machine as the shim.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let source = Path::new("holder/main.rs");
    println!("cargo::rerun-if-changed=holder");
    println!("cargo::rerun-if-changed=build.rs");
    let program = PathBuf::from(env::var("OUT_DIR")?).join("holder");
    // Rust's own linker: it makes programs of every machine, and needs no C compiler.
    let status = Command::new(env::var("RUSTC")?)
        .args(["--crate-name=holder", "--crate-type=bin", "--edition=2024"])
        .args(["--target", &env::var("TARGET")?])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Cdebuginfo=0"])
        .args(["-Crelocation-model=static", "-Ctarget-feature=+crt-static", "-Clink-self-contained=no"])
        .args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"])
        // Without a segment that is writable and can be executed, and in as few pages as that takes.
        .args(["-Clink-arg=-static", "-Clink-arg=--build-id=none", "-Clink-arg=--no-eh-frame-hdr"])
        .args(["-Clink-arg=-z", "-Clink-arg=noseparate-code", "-Clink-arg=-z", "-Clink-arg=norelro"])
        .arg("-o")
        .arg(&program)
        .arg(source)
        .env_remove("RUSTFLAGS")
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the compiler of {}: {status}", source.display()).into()),
    }
}
