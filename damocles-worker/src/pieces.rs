//! Where the data of a sector's pieces comes from: local directories first, then the
//! manager's piece store. Says where; fetching is the add_pieces stage's work.

use crate::endpoint::ManagerAddr;
use damocles_api::sector::SectorPiece;
use damocles_processor::task::{Piece, PieceFile};
use damocles_types::{Failure, PaddedSize};
use std::path::PathBuf;

/// Places to look.
#[derive(Clone, Debug)]
pub struct PieceSource {
    /// Pieces may be had at all (`[sealing] enable_deals` of the main section).
    pub enabled: bool,
    pub dirs: Vec<PathBuf>,
    pub manager: ManagerAddr,
}

impl PieceSource {
    /// The tasks' form of a sector's pieces, in order. Sizes are checked here: one that is
    /// impossible would spoil the whole sector.
    pub fn locate(&self, pieces: &[SectorPiece]) -> Result<Vec<Piece>, Failure> {
        pieces.iter().map(|piece| self.locate_one(piece)).collect()
    }

    fn locate_one(&self, piece: &SectorPiece) -> Result<Piece, Failure> {
        let size = PaddedSize(piece.piece.size);
        let cid = piece.piece.cid.cid;
        if !size.is_valid_piece() {
            return Err(Failure::permanent(format!(
                "piece {cid} has a padded size of {} bytes, which no piece can have",
                size.0
            )));
        }
        let Some(deal) = piece.deal_info.as_ref().filter(|_| piece.has_deal()) else {
            return Ok(Piece {
                piece_file: PieceFile::Pledge,
                payload_size: size.unpadded().0,
                piece_size: size.unpadded(),
                piece_cid: None,
            });
        };
        if !self.enabled {
            return Err(Failure::permanent(format!(
                "piece {cid} belongs to a deal, but this worker takes no deals"
            ))
            .hint("set enable_deals = true in [sealing] of the worker's config, then restart it and resume the thread"));
        }
        if deal.payload_size > size.unpadded().0 {
            return Err(Failure::permanent(format!(
                "piece {cid} has {} bytes of payload but room for {}",
                deal.payload_size,
                size.unpadded().0
            )));
        }
        let names = [cid.to_string(), format!("{cid}.car")];
        let local = self
            .dirs
            .iter()
            .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
            .find(|path| path.is_file());
        Ok(Piece {
            piece_file: match local {
                Some(path) => PieceFile::Local(path),
                None => PieceFile::Url(self.manager.piece_url(cid)),
            },
            payload_size: deal.payload_size,
            piece_size: size.unpadded(),
            piece_cid: Some(cid.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use damocles_api::sector::{DealInfo, Piece as WirePiece};
    use damocles_types::{Commitment, UnpaddedSize};

    fn piece(size: u64, deal_id: u64) -> SectorPiece {
        SectorPiece {
            piece: WirePiece {
                size,
                cid: Commitment([9; 32]).unsealed_cid().into(),
            },
            deal_info: Some(DealInfo {
                deal_id,
                allocation_id: 0,
                payload_size: 100,
                is_builtin_market: true,
                rest: serde_json::Map::new(),
            }),
        }
    }

    #[test]
    fn fillers_are_zeros_and_deals_come_from_near_before_far() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = PieceSource {
            enabled: true,
            dirs: vec![dir.path().to_owned()],
            manager: "http://m:1789".parse().unwrap(),
        };
        let deal = piece(128, 5);
        let cid = deal.piece.cid.cid.to_string();
        let found = source.locate(&[deal.clone(), piece(256, 0)]).unwrap();
        assert_eq!(
            found[0].piece_file,
            PieceFile::Url(format!("http://m:1789/piecestore/{cid}"))
        );
        assert_eq!(found[0].piece_cid.as_deref(), Some(cid.as_str()));
        assert_eq!(found[1].piece_file, PieceFile::Pledge);
        assert_eq!(found[1].piece_size, UnpaddedSize(254));
        let local = dir.path().join(format!("{cid}.car"));
        std::fs::write(&local, b"x").unwrap();
        assert_eq!(
            source.locate(std::slice::from_ref(&deal)).unwrap()[0].piece_file,
            PieceFile::Local(local)
        );
        assert!(
            source.locate(&[piece(100, 5)]).is_err(),
            "100 is no padded size"
        );
        source.enabled = false;
        let refused = source.locate(&[deal]).unwrap_err();
        assert!(refused.hint.unwrap().contains("enable_deals"));
        assert!(source.locate(&[piece(256, 0)]).is_ok());
    }
}
