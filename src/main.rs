//! The `stdis` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stdis::boot::main(std::env::args_os().skip(1))
}
