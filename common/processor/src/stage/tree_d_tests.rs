//! Both kernels through the same stage.

use super::*;
use crate::{kernel::KernelChoice, serve::Progress, stage::Settings};
use damocles_types::Level;

const SIZE: SectorSize = SectorSize::KiB2;

/// Root and file that this kernel makes of the data, in a directory of its own.
fn tree(kernel: KernelChoice, data: &[u8]) -> Result<(Commitment, Vec<u8>), TaskError> {
    let dir = tempfile::tempdir().unwrap();
    let staged = dir.path().join("staged");
    fs::write(&staged, data).unwrap();
    let cache = dir.path().join("cache");
    // what a run that was killed leaves
    fs::create_dir_all(cache.join(WORK)).unwrap();
    fs::write(cache.join(WORK).join(TREE_D), b"half").unwrap();
    let context = Context {
        settings: &Settings::from(kernel),
        progress: &Progress::silent(),
    };
    let built = build(&staged, &cache, SIZE, &context)?;
    assert_eq!(root(&cache, SIZE).unwrap(), Some(built));
    assert!(!cache.join(WORK).exists());
    Ok((built, fs::read(cache.join(TREE_D)).unwrap()))
}

fn data() -> Vec<u8> {
    (0..SIZE.bytes()).map(|i| (i * i % 61) as u8).collect()
}

#[test]
fn our_tree_is_the_librarys() {
    for data in [data(), vec![0; SIZE.bytes() as usize]] {
        let ours = tree(KernelChoice::Auto, &data).unwrap();
        let theirs = tree(KernelChoice::FilecoinProofs, &data).unwrap();
        assert!(ours == theirs, "roots {} and {}", ours.0, theirs.0);
    }
}

#[test]
fn other_data_is_refused_for_good_and_shown() {
    let mut unpadded = data();
    unpadded[32 * 5 + 31] = 0x40;
    for kernel in KernelChoice::ALL {
        let error = tree(kernel, &unpadded).unwrap_err();
        assert_eq!(error.level, Level::Permanent);
        assert!(error.message.contains("the 32 bytes at 160 "), "{error}");
        let error = tree(kernel, &data()[32..]).unwrap_err();
        assert_eq!(error.level, Level::Permanent);
        assert!(error.message.contains("has 2016 bytes"), "{error}");
    }
}
