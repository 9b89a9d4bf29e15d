//! The `ferry` command: crypto provider, runtime, exit code; nothing else.

fn main() {}
