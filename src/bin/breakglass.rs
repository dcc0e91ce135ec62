//! The command line. All of it is in [`breakglass::cli`].

fn main() -> std::process::ExitCode {
    breakglass::cli::main(std::env::args_os())
}
