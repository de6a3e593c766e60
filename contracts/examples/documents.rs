//! Regenerates the committed documents from the contracts.

use std::{fs, io, path::Path};

use contracts::generated::documents;

fn main() -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in documents() {
        let path = directory.join(&document.path);
        if fs::read_to_string(&path).ok().as_ref() != Some(&document.text) {
            fs::create_dir_all(path.parent().expect("a document is in a directory"))?;
            fs::write(&path, document.text)?;
            println!("regenerated {}", document.path);
        }
    }
    Ok(())
}
