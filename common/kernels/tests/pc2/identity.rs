//! The same bytes as the library's, however it is run.

use crate::sector::{Content, Element, KIB, MIB, Sector, assert_same_file};
use damocles_kernels::{
    cpu::Cpu,
    pc2::{self, Data, Options},
};
use filecoin_hashers::{Domain, poseidon::PoseidonHasher};
use filecoin_proofs::StoreConfig;
use generic_array::typenum::{U0, U8};
use std::fs::{self, File};
use storage_proofs_core::{merkle::LCTree, util::default_rows_to_discard};

/// Shapes 8-0-0, 8-2-0, 8-8-0 and 8-8-2, the last two those of 32 and 64GiB.
const SMALL: [u64; 4] = [2 * KIB, 4 * KIB, 16 * KIB, 32 * KIB];

#[test]
fn every_shape_with_two_and_eleven_layers() {
    for (seed, size) in SMALL.into_iter().enumerate() {
        for layers in [2, 11] {
            for content in [Content::Random, Content::Zeros] {
                let sector = Sector::new(size, layers, content, seed as u64);
                let comm_r = sector.library();
                for (name, cpu) in [("fast", Cpu::detect()), ("portable", Cpu::PORTABLE)] {
                    let roots = sector.ours(name, cpu, &Options::default()).unwrap();
                    sector.assert_same(name, &roots, comm_r);
                }
            }
        }
    }
}

#[test]
fn a_sector_of_8mib() {
    let sector = Sector::new(8 * MIB, 2, Content::Random, 8);
    let comm_r = sector.library();
    // one thread and many, chunks of all sizes, one buffer and hundreds
    for (number, (threads, memory)) in [(2, 1 << 30), (1, 64 << 20), (3, 800 << 10), (7, 300 << 10)]
        .into_iter()
        .enumerate()
    {
        let name = format!("run-{number}");
        let options = Options {
            threads,
            memory,
            ..Options::default()
        };
        let roots = sector.ours(&name, Cpu::detect(), &options).unwrap();
        sector.assert_same(&name, &roots, comm_r);
        fs::remove_dir_all(sector.path(&name)).unwrap();
    }
}

#[test]
fn in_the_sealed_file_itself() {
    for size in SMALL {
        let sector = Sector::new(size, 2, Content::Random, 3);
        let comm_r = sector.library();
        let mut job = sector.job("inplace");
        job.data = Data::InPlace;
        fs::copy(sector.staged(), &job.sealed).unwrap();
        let roots = pc2::run(&job, Cpu::detect(), &Options::default(), |_| {}).unwrap();
        sector.assert_same("inplace", &roots, comm_r);
    }
}

#[test]
fn a_staged_file_may_end_early() {
    let sector = Sector::new(16 * KIB, 2, Content::Random, 4);
    let staged = File::options().write(true).open(sector.staged()).unwrap();
    // the library is given the same with zeros behind
    staged.set_len(5000).unwrap();
    staged.set_len(16 * KIB).unwrap();
    let comm_r = sector.library();
    staged.set_len(5000).unwrap();
    let roots = sector
        .ours("short", Cpu::detect(), &Options::default())
        .unwrap();
    sector.assert_same("short", &roots, comm_r);
}

#[test]
fn as_many_rows_are_discarded_as_asked() {
    let sector = Sector::new(8 * MIB, 2, Content::Random, 5);
    sector
        .ours("default", Cpu::detect(), &Options::default())
        .unwrap();
    let sealed = fs::read(sector.path("default/sealed")).unwrap();
    let leaves: Vec<Element> = sealed
        .chunks_exact(32)
        .map(|node| Element::try_from_bytes(node).unwrap())
        .collect();
    // the default is the library's
    assert_eq!(default_rows_to_discard(leaves.len(), 8), 2);
    for (wanted, rows) in [(0, 0), (4, 4), (7, 5)] {
        let options = Options {
            rows_to_discard: wanted,
            ..Options::default()
        };
        let name = format!("rows-{wanted}");
        let roots = sector.ours(&name, Cpu::detect(), &options).unwrap();
        assert_eq!(roots.rows_discarded, rows);
        let id = format!("theirs-{wanted}");
        let config = StoreConfig::new(sector.path(""), &id, rows as usize);
        let tree = LCTree::<PoseidonHasher, U8, U0, U0>::from_par_iter_with_config(
            leaves.clone(),
            config.clone(),
        )
        .unwrap();
        assert_eq!(tree.root().into_bytes(), roots.comm_r_last);
        assert_same_file(
            &sector.path(&name).join("sc-02-data-tree-r-last.dat"),
            &StoreConfig::data_path(&config.path, &id),
        );
    }
}
