//! The `podhook` command.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let line = podhook::args::plugin::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "error: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(podhook::run(&line));
    // A read of stdin that nobody needs any more must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(text) = error.report() {
                // Nobody may read it any more: that is no panic.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
