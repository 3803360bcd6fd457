//! AddPieces: deals, fillers and nothing at all, through fr32 into the staged file.

use super::{context::Context, source, trouble::disk};
use crate::{
    disk::{at, create_anew, sync_parent},
    proofs::seal_proof,
    serve::TaskError,
    task::{AddPieces, Piece, PieceFile},
    verify::zero_commitment,
};
use damocles_kernels::{
    cpu::Cpu,
    piece::{self, Error},
    sha::pairs,
    tree::binary::Options,
};
use damocles_types::{Commitment, PaddedSize, PieceInfo, SealProof};
use filecoin_proofs_api::{self as api, UnpaddedBytesAmount};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

pub(super) fn run(task: &AddPieces, context: &Context<'_>) -> Result<Vec<PieceInfo>, TaskError> {
    let size = task.seal_proof_type.size.bytes();
    check_layout(&task.pieces, size)?;
    match context.own_kernels() {
        Some(cpu) => context.computes(pairs::code(cpu)),
        None => context.filecoin_proofs_computes(),
    }
    let path = &task.staged_filepath;
    let staged = create_anew(path).map_err(disk)?;

    let mut infos = Vec::new();
    let mut offset = 0;
    for (i, piece) in task.pieces.iter().enumerate() {
        let what = format!("piece {} of {}", i + 1, task.pieces.len());
        context.note(&what);
        let target = Target {
            proof: task.seal_proof_type,
            path,
            staged: &staged,
            offset,
        };
        let commitment = add(piece, &target, context, &what)?;
        infos.push(check_cid(
            piece,
            PieceInfo {
                commitment,
                size: piece.piece_size,
            },
        )?);
        offset += piece.piece_size.padded().0;
    }
    if task.pieces.is_empty() {
        infos.push(PieceInfo {
            commitment: zero_commitment(PaddedSize(size)),
            size: PaddedSize(size).unpadded(),
        });
    }
    // The rest is zeros, and zeros need no room on disk.
    staged
        .set_len(size)
        .and_then(|()| staged.sync_all())
        .map_err(at(path))
        .map_err(disk)?;
    sync_parent(path).map_err(disk)?;
    Ok(infos)
}

/// Pieces lie back to back and fill the sector, each at a multiple of its own size: CommD is
/// made of subtrees. Fillers are pieces too; the manager supplies them.
fn check_layout(pieces: &[Piece], sector: u64) -> Result<(), TaskError> {
    let mut offset = 0;
    for (i, piece) in pieces.iter().enumerate() {
        let padded = piece.piece_size.padded();
        let bad = |why: String| {
            Err(TaskError::permanent(format!(
                "piece {i} of {}: {why}",
                pieces.len()
            )))
        };
        if !padded.is_valid_piece() || padded.unpadded() != piece.piece_size {
            return bad(format!(
                "{} is not the unpadded size of a piece",
                piece.piece_size.0
            ));
        }
        if piece.payload_size > piece.piece_size.0 {
            return bad(format!(
                "its payload of {} bytes is larger than itself",
                piece.payload_size
            ));
        }
        if offset % padded.0 != 0 {
            return bad(format!(
                "it would begin at {offset}, no multiple of its size {}; fillers are missing",
                padded.0
            ));
        }
        offset += padded.0;
        if offset > sector {
            return bad(format!(
                "it ends at {offset}, beyond the sector of {sector} bytes"
            ));
        }
    }
    if !pieces.is_empty() && offset < sector {
        return Err(TaskError::permanent(format!(
            "the pieces fill {offset} of the sector's {sector} bytes; fillers are missing"
        )));
    }
    Ok(())
}

/// Where a piece goes.
struct Target<'a> {
    proof: SealProof,
    path: &'a Path,
    /// A fresh file: a hole everywhere that no piece has been.
    staged: &'a File,
    offset: u64,
}

/// Writes a piece and returns its commitment.
fn add(
    piece: &Piece,
    target: &Target<'_>,
    context: &Context<'_>,
    what: &str,
) -> Result<Commitment, TaskError> {
    let mut source: Box<dyn Read> = match &piece.piece_file {
        PieceFile::Pledge => return Ok(zero_commitment(piece.piece_size.padded())),
        PieceFile::Local(path) => Box::new(source::local(path, piece.payload_size)?),
        PieceFile::Url(url) => Box::new(source::url(url)?),
    };
    match context.own_kernels() {
        Some(cpu) => own(cpu, piece, source.as_mut(), target, context, what),
        None => library(piece, source, target),
    }
}

/// By our own kernel.
fn own(
    cpu: Cpu,
    piece: &Piece,
    source: &mut dyn Read,
    target: &Target<'_>,
    context: &Context<'_>,
    what: &str,
) -> Result<Commitment, TaskError> {
    piece::add(
        source,
        piece.payload_size,
        piece.piece_size.padded().0,
        Some((target.staged, target.offset)),
        &Options::new(cpu),
        &context.percents(what, piece.payload_size.max(1)),
    )
    .map(Commitment)
    .map_err(|error| match error {
        Error::Read(error) => unreadable(error),
        Error::Ended { read, payload } => ended(read, payload),
        Error::Write(error) => disk(at(target.path)(error)),
        error => TaskError::permanent(error),
    })
}

/// By the library.
fn library(
    piece: &Piece,
    source: Box<dyn Read>,
    target: &Target<'_>,
) -> Result<Commitment, TaskError> {
    let size = piece.piece_size;
    let mut staged = target.staged;
    staged
        .seek(SeekFrom::Start(target.offset))
        .map_err(at(target.path))
        .map_err(disk)?;
    let mut payload = Counted {
        inner: source.take(piece.payload_size),
        read: 0,
        failed: None,
    };
    let rest = io::repeat(0).take(size.0 - piece.payload_size);
    let written = api::seal::write_and_preprocess(
        seal_proof(target.proof)?,
        Read::by_ref(&mut payload).chain(rest),
        staged,
        UnpaddedBytesAmount(size.0),
    );
    if let Some(error) = payload.failed {
        return Err(unreadable(error));
    }
    if payload.read < piece.payload_size {
        return Err(ended(payload.read, piece.payload_size));
    }
    Ok(Commitment(written?.0.commitment))
}

fn unreadable(error: impl std::fmt::Display) -> TaskError {
    TaskError::temporary(format!("the piece could not be read: {error}"))
}

fn ended(read: u64, payload: u64) -> TaskError {
    TaskError::temporary(format!("the piece ended after {read} of {payload} bytes"))
}

/// The computed commP against the deal's (upstream finds a difference at precommit only).
fn check_cid(piece: &Piece, info: PieceInfo) -> Result<PieceInfo, TaskError> {
    let Some(text) = &piece.piece_cid else {
        return Ok(info);
    };
    let wanted = text
        .parse::<cid::Cid>()
        .map_err(|error| TaskError::permanent(format!("{text} is no piece CID: {error}")))?;
    let wanted = Commitment::from_unsealed_cid(&wanted).map_err(TaskError::permanent)?;
    if wanted == info.commitment {
        return Ok(info);
    }
    Err(TaskError::permanent(format!(
        "the data of piece {text} has the commitment {}",
        info.commitment.unsealed_cid()
    ))
    .hint("the piece store holds other data under this name; put the right file there and resume"))
}

/// Counts what is read and keeps the error that the library hides in its own.
struct Counted<R> {
    inner: R,
    read: u64,
    failed: Option<String>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let done = self.inner.read(block);
        match &done {
            Ok(n) => self.read += *n as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.failed = Some(error.to_string()),
        }
        done
    }
}

#[cfg(test)]
#[path = "add_pieces_tests.rs"]
mod tests;
