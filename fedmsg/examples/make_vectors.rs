//! Writes the golden vectors of the wire format: `cargo run -p fedmsg --example make_vectors`.
//!
//! They are a promise to other implementations. If this changes a file that is under version control, the
//! format has changed: then that is the thing to talk about, not the file.

#[path = "../tests/vectors/make.rs"]
mod make;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for (name, value) in make::vectors() {
        let text = serde_json::to_string_pretty(&value)? + "\n";
        std::fs::write(folder.join(name), text)?;
        println!("{name}");
    }
    Ok(())
}
