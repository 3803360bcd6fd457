//! Sixteen lanes against the sha2 crate.

use super::*;
use crate::cpu::Cpu;
use sha2::{Digest, Sha256};

/// Sixteen messages of `blocks` blocks, all different.
fn messages(blocks: usize) -> Vec<Vec<u8>> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
        (x >> 56) as u8
    };
    (0..16)
        .map(|_| (0..64 * blocks).map(|_| byte()).collect())
        .collect()
}

/// Block `i` of every message, message after message; after the last one the padding.
fn block(messages: &[Vec<u8>], i: usize) -> [u8; 1024] {
    let mut bytes = [0; 1024];
    for (message, block) in messages.iter().zip(bytes.as_chunks_mut::<64>().0) {
        match message.chunks_exact(64).nth(i) {
            Some(data) => block.copy_from_slice(data),
            None => {
                block[0] = 0x80;
                block[56..].copy_from_slice(&(8 * message.len() as u64).to_be_bytes());
            }
        }
    }
    bytes
}

fn expected(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(Sha256::digest).collect()
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn every_way_agrees() {
    const BLOCKS: usize = 5;
    let messages = messages(BLOCKS);
    let other: Vec<Vec<u8>> = messages.iter().rev().cloned().collect();
    let mut plain = initial();
    let mut two = [initial(); 2];
    let mut lean = initial();
    let mut schedules = [Schedule::zeroed(); 2];
    for i in 0..BLOCKS {
        let words = load_blocks(&block(&messages, i));
        compress(&mut plain, &words);
        let [first, second] = &mut schedules;
        expand(&words, first);
        expand(&load_blocks(&block(&other, i)), second);
        compress_two_scheduled(&mut two, [first, second]);
        compress_scheduled(&mut lean, first);
    }
    // the padding: a block, and the schedule of one that everybody has
    let padding = load_blocks(&block(&messages, BLOCKS));
    compress(&mut plain, &padding);
    expand(&padding, &mut schedules[0]);
    let first_lane = schedules[0].0.map(|lanes| {
        let mut bytes = [0; 64];
        store(lanes, &mut bytes);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    });
    compress_two_constant(&mut two, &first_lane);
    compress_constant(&mut lean, &first_lane);
    let digests = |state: &State| {
        let mut bytes = [0; 512];
        store_digests(state, &mut bytes);
        bytes.to_vec()
    };
    assert_eq!(digests(&plain), expected(&messages));
    assert_eq!(digests(&two[0]), expected(&messages));
    assert_eq!(digests(&lean), expected(&messages));
    assert_eq!(digests(&two[1]), expected(&other));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn there_and_back() {
    let mut rows = [_mm512_setzero_si512(); 16];
    for (i, row) in rows.iter_mut().enumerate() {
        let mut bytes = [0; 64];
        for (j, word) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *word = (100 * i as u32 + j as u32).to_le_bytes();
        }
        *row = load(&bytes);
    }
    let columns = transpose(&rows);
    let mut bytes = [0; 64];
    store(columns[3], &mut bytes);
    let third: Vec<u32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|w| u32::from_le_bytes(*w))
        .collect();
    assert_eq!(third, (0..16).map(|i| 100 * i + 3).collect::<Vec<_>>());
    for (row, again) in rows.iter().zip(transpose(&columns)) {
        let (mut x, mut y) = ([0; 64], [0; 64]);
        store(*row, &mut x);
        store(swap_bytes(swap_bytes(again)), &mut y);
        assert_eq!(x, y);
    }
}

#[test]
fn sixteen_lanes_hash_as_sha2_does() {
    if Cpu::detect().avx512 {
        // SAFETY: the CPU has the features.
        unsafe { every_way_agrees() }
    }
}

#[test]
fn transposing_turns_rows_into_columns() {
    if Cpu::detect().avx512 {
        // SAFETY: the CPU has the features.
        unsafe { there_and_back() }
    }
}
