//! The program `storkit`: see [`bot::program`].

fn main() -> std::process::ExitCode {
    bot::program::main()
}
