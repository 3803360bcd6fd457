//! Decoded parameters in a file of our own, which is mapped: read once by the system for all
//! processes of the host, and never decoded again.
//!
//! # What is checked, and when
//! Whether points lie on the curve and in the right group is checked by who decodes the official
//! file, before this one is written. When it is mapped, every byte of it is compared with its
//! checksum instead; what is damaged or cut off is refused. Whoever could forge the checksum as
//! well can write to the directory of the parameters, and so could replace the official file; and
//! a proof from wrong points does not verify, which is tried before a proof leaves the process.
//!
//! # Format
//! A page of numbers (little end first): [`MAGIC`], [`VERSION`], the form of the points, the
//! file's length, and where each section begins and how long it is. Then the sections, each
//! from a page's begin: what the caller says about the file's origin, the verifying key as
//! bellperson writes it, points and (of points in lanes) the numbers of those at infinity, as they
//! lie in memory. In the end 32 bytes: BLAKE2b of the BLAKE2bs of all before, by 1 MiB.

use crate::{
    kept::{self, Section},
    multiexp::{Bases, G2Bases},
    parameters::Parameters,
    run::Run,
};
use bellperson::groth16::VerifyingKey;
use blake2b_simd::{
    Params,
    many::{HashManyJob, hash_many},
};
use blstrs::Bls12;
use damocles_kernels::{cpu::Cpu, crew::Cancelled};
use std::{
    fs::File,
    io::{self, Write},
};

const MAGIC: &[u8; 16] = b"damocles groth16";
/// Another one is refused, and the file made anew.
const VERSION: u32 = 2;
/// Sections begin with one, so that points lie in their place.
const PAGE: usize = 4096;
/// What is hashed by itself.
const CHUNK: usize = 1 << 20;
/// How long a digest is.
const DIGEST: usize = 32;
/// The origin, the key, five times points with those at infinity.
const SECTIONS: usize = 12;

/// How points are kept, which is how this CPU calculates with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Limbs for lanes, 128 bytes a point of G1, 256 of G2.
    Lanes = 1,
    /// blst's words, 96 bytes a point of G1, 192 of G2.
    Words = 0,
}

impl Form {
    pub fn of(cpu: Cpu) -> Self {
        match cpu.here().ifma {
            true => Self::Lanes,
            false => Self::Words,
        }
    }

    /// For file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Words => "words",
        }
    }
}

/// Why a file is not used.
#[derive(Debug)]
pub enum Unusable {
    Disk(io::Error),
    /// What is wrong with it: "it …".
    Wrong(&'static str),
    Cancelled,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Wrong(what) => f.write_str(what),
            Self::Cancelled => f.write_str("reading it was cancelled"),
        }
    }
}

impl std::error::Error for Unusable {}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<Cancelled> for Unusable {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

const CUT_OFF: Unusable = Unusable::Wrong("it is cut off");
const DAMAGED: Unusable = Unusable::Wrong("it is damaged");

/// How long a file of these parameters is.
pub fn length(parameters: &Parameters, origin: &[u8]) -> io::Result<u64> {
    let key = key(parameters)?;
    let (_, length) = places(&sections(parameters, origin, &key));
    Ok(length as u64)
}

/// Writes parameters, and where they come from. `told` hears how many bytes are written, of how
/// many.
///
/// # Errors
/// Those of `out`.
pub fn write(
    parameters: &Parameters,
    origin: &[u8],
    out: impl Write,
    told: impl Fn(u64, u64),
) -> io::Result<()> {
    let key = key(parameters)?;
    let sections = sections(parameters, origin, &key);
    let (places, length) = places(&sections);
    let form = match parameters.h.are_in_lanes() {
        true => Form::Lanes,
        false => Form::Words,
    };
    let mut head = Vec::with_capacity(PAGE);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend((form as u32).to_le_bytes());
    head.extend((length as u64).to_le_bytes());
    for (begin, section) in places.iter().zip(sections) {
        head.extend((*begin as u64).to_le_bytes());
        head.extend((section.len() as u64).to_le_bytes());
    }
    let mut out = Hashed {
        out,
        chunk: Vec::with_capacity(CHUNK),
        digests: Vec::new(),
        written: 0,
        told: |written| told(written, length as u64),
    };
    out.add(&head)?;
    for (begin, section) in places.iter().zip(sections) {
        out.fill(*begin)?;
        out.add(section)?;
    }
    out.fill(length - DIGEST)?;
    out.end()
}

/// Maps a file. `fits` hears of its origin, and says whether it is the right one.
///
/// # Errors
/// The file cannot be read, or is not to be used.
pub fn map(
    file: &File,
    cpu: Cpu,
    fits: impl FnOnce(&[u8]) -> bool,
    run: Run<'_>,
) -> Result<Parameters, Unusable> {
    if file.metadata()?.len() < (PAGE + DIGEST) as u64 {
        return Err(CUT_OFF);
    }
    let map = kept::map(file)?;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&map[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if !map.starts_with(MAGIC) {
        return Err(Unusable::Wrong("it is no file of parameters"));
    }
    let form = Form::of(cpu) as u32;
    if number(16) != u64::from(VERSION) | u64::from(form) << 32 {
        return Err(Unusable::Wrong("it is of another version or another CPU"));
    }
    if number(24) != map.len() as u64 {
        return Err(CUT_OFF);
    }
    let places: [_; SECTIONS] = std::array::from_fn(|i| Section {
        map: &map,
        begin: usize::try_from(number(32 + 16 * i)).unwrap_or(usize::MAX),
        length: usize::try_from(number(40 + 16 * i)).unwrap_or(usize::MAX),
    });
    let [origin, key, h, h0, l, l0, a, a0, b, b0, b_g2, b_g20] = &places;
    if !fits(origin.bytes().ok_or(DAMAGED)?) {
        return Err(Unusable::Wrong("it was made from other parameters"));
    }
    let (content, sum) = map.split_at(map.len() - DIGEST);
    if digest(content, run)? != sum {
        return Err(DAMAGED);
    }
    let key = VerifyingKey::<Bls12>::read(key.bytes().ok_or(DAMAGED)?).map_err(|_| DAMAGED)?;
    let bases = |points, infinite| Bases::mapped(cpu, points, infinite).ok_or(DAMAGED);
    Ok(Parameters {
        key,
        h: bases(h, h0)?,
        l: bases(l, l0)?,
        a: bases(a, a0)?,
        b_g1: bases(b, b0)?,
        b_g2: G2Bases::mapped(cpu, b_g2, b_g20).ok_or(DAMAGED)?,
        mapped: map.len() as u64,
    })
}

fn key(parameters: &Parameters) -> io::Result<Vec<u8>> {
    let mut key = Vec::new();
    parameters.key.write(&mut key)?;
    Ok(key)
}

fn sections<'a>(
    parameters: &'a Parameters,
    origin: &'a [u8],
    key: &'a [u8],
) -> [&'a [u8]; SECTIONS] {
    let [h, h0] = parameters.h.sections();
    let [l, l0] = parameters.l.sections();
    let [a, a0] = parameters.a.sections();
    let [b, b0] = parameters.b_g1.sections();
    let [b_g2, b_g20] = parameters.b_g2.sections();
    [origin, key, h, h0, l, l0, a, a0, b, b0, b_g2, b_g20]
}

/// Where sections begin, and how long the file is.
fn places(sections: &[&[u8]; SECTIONS]) -> ([usize; SECTIONS], usize) {
    let mut end = PAGE;
    let places = sections.map(|section| {
        let begin = end;
        end = (begin + section.len()).next_multiple_of(PAGE);
        begin
    });
    (places, end + DIGEST)
}

/// What is written, with digests of its chunks.
struct Hashed<W, T> {
    out: W,
    chunk: Vec<u8>,
    digests: Vec<u8>,
    written: u64,
    told: T,
}

impl<W: Write, T: Fn(u64)> Hashed<W, T> {
    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = bytes.len().min(CHUNK - self.chunk.len());
            let (now, later) = bytes.split_at(taken);
            self.chunk.extend(now);
            bytes = later;
            if self.chunk.len() == CHUNK {
                self.put()?;
            }
        }
        Ok(())
    }

    /// Zeros up to a place of the file.
    fn fill(&mut self, end: usize) -> io::Result<()> {
        let here = self.written as usize + self.chunk.len();
        self.add(&vec![0; end.saturating_sub(here)])
    }

    fn put(&mut self) -> io::Result<()> {
        self.digests.extend(short(&self.chunk));
        self.out.write_all(&self.chunk)?;
        self.written += self.chunk.len() as u64;
        self.chunk.clear();
        (self.told)(self.written);
        Ok(())
    }

    fn end(mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.put()?;
        }
        self.out.write_all(&short(&self.digests))?;
        self.out.flush()?;
        (self.told)(self.written + DIGEST as u64);
        Ok(())
    }
}

fn hash() -> Params {
    let mut params = Params::new();
    params.hash_length(DIGEST);
    params
}

fn short(bytes: &[u8]) -> [u8; DIGEST] {
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(hash().hash(bytes).as_bytes());
    digest
}

/// The digest of a file's content.
fn digest(content: &[u8], run: Run<'_>) -> Result<[u8; DIGEST], Cancelled> {
    /// Chunks that a thread hashes side by side.
    const TOGETHER: usize = 8;
    let chunks: Vec<&[u8]> = content.chunks(CHUNK).collect();
    let mut digests = vec![0; DIGEST * chunks.len()];
    let pieces = chunks
        .chunks(TOGETHER)
        .zip(digests.chunks_mut(DIGEST * TOGETHER));
    run.each(chunks.len().div_ceil(TOGETHER), pieces, |(chunks, into)| {
        let params = hash();
        let mut jobs: Vec<_> = (chunks.iter())
            .map(|chunk| HashManyJob::new(&params, chunk))
            .collect();
        hash_many(&mut jobs);
        for (job, into) in jobs.iter().zip(into.chunks_mut(DIGEST)) {
            into.copy_from_slice(job.to_hash().as_bytes());
        }
    })?;
    Ok(short(&digests))
}

#[cfg(test)]
mod tests;
