//! The binary `flashdeal`.

use std::process::ExitCode;

use flashdeal::app::{command_line, commands, log_writer};

fn main() -> ExitCode {
    let cli = command_line::read();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(commands::run(cli));
            // A statement that hangs must not keep the process: its transaction is the server's.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            log_writer::flush();
            code
        }
        Err(error) => {
            eprintln!("flashdeal: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
