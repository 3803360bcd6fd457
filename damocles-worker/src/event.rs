//! What a finished step found out, and how it goes into the sector's document. The outcome's
//! name (`Ev`) decides where the sector goes; the table in `damocles-flow` says so.

use crate::document::{Document, Output};
use damocles_api::sector::{AllocatedSector, SectorPiece};
use damocles_flow::{Ev, State};
use damocles_processor::{Opaque, task::Pc2Output};
use damocles_types::{Base64, PieceInfo, Seed, Ticket};

/// The outcome of a step, with its data.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// With the manager that gave it, as `Document::manager` keeps it.
    Allocate(AllocatedSector, Option<String>),
    AcquireDeals(Vec<SectorPiece>),
    AddPiece(Vec<PieceInfo>),
    BuildTreeD,
    /// With the time at which it was drawn, in milliseconds since the Unix epoch.
    AssignTicket(Ticket, u64),
    PC1(Opaque),
    PC2(Pc2Output),
    PC2NeedSyntheticProof(Pc2Output),
    SyntheticPoRep,
    SubmitPC,
    CheckPC,
    ReSubmitPC,
    TicketExpired,
    Persist(String),
    SubmitPersistance,
    AssignSeed(Seed),
    SeedChanged,
    C1(Opaque),
    C2(Vec<u8>),
    SubmitProof,
    ReSubmitProof,
    ProofInvalid,
    PreCommitGone,
    Finish,
    Abort(String),
}

/// What changes beside the document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    pub keep: Option<(Output, Opaque)>,
    pub drop: Vec<Output>,
}

impl Event {
    pub const fn name(&self) -> Ev {
        match self {
            Self::Allocate(..) => Ev::Allocate,
            Self::AcquireDeals(_) => Ev::AcquireDeals,
            Self::AddPiece(_) => Ev::AddPiece,
            Self::BuildTreeD => Ev::BuildTreeD,
            Self::AssignTicket(..) => Ev::AssignTicket,
            Self::PC1(_) => Ev::PC1,
            Self::PC2(_) => Ev::PC2,
            Self::PC2NeedSyntheticProof(_) => Ev::PC2NeedSyntheticProof,
            Self::SyntheticPoRep => Ev::SyntheticPoRep,
            Self::SubmitPC => Ev::SubmitPC,
            Self::CheckPC => Ev::CheckPC,
            Self::ReSubmitPC => Ev::ReSubmitPC,
            Self::TicketExpired => Ev::TicketExpired,
            Self::Persist(_) => Ev::Persist,
            Self::SubmitPersistance => Ev::SubmitPersistance,
            Self::AssignSeed(_) => Ev::AssignSeed,
            Self::SeedChanged => Ev::SeedChanged,
            Self::C1(_) => Ev::C1,
            Self::C2(_) => Ev::C2,
            Self::SubmitProof => Ev::SubmitProof,
            Self::ReSubmitProof => Ev::ReSubmitProof,
            Self::ProofInvalid => Ev::ProofInvalid,
            Self::PreCommitGone => Ev::PreCommitGone,
            Self::Finish => Ev::Finish,
            Self::Abort(_) => Ev::Abort,
        }
    }

    /// Writes what was found out into the document, and says what changes beside it. The
    /// state itself is moved by whoever asked the table.
    pub fn apply(self, document: &mut Document) -> Outputs {
        let phases = &mut document.phases;
        let mut outputs = Outputs::default();
        match self {
            Self::Allocate(allocated, manager) => {
                document.allocated = allocated;
                document.manager = manager;
            }
            Self::AcquireDeals(deals) => phases.deals = Some(deals),
            Self::AddPiece(infos) => phases.piece_infos = Some(infos),
            Self::AssignTicket(ticket, at) => {
                phases.ticket = Some(ticket);
                phases.ticket_at = Some(at);
            }
            Self::PC1(output) => outputs.keep = Some((Output::Pc1, output)),
            Self::PC2(output) | Self::PC2NeedSyntheticProof(output) => phases.pc2 = Some(output),
            Self::SubmitPC => {
                phases.pc2_re_submit = false;
                phases.precommit_sent = true;
                phases.precommit_asked = false;
            }
            Self::ReSubmitPC => {
                phases.pc2_re_submit = true;
                phases.precommits_failed += 1;
            }
            Self::CheckPC => (phases.precommits_failed, phases.tickets_spent) = (0, 0),
            Self::TicketExpired => {
                // one that was found too old before a message was made has cost none
                let messaged = matches!(document.state, State::PC2Done | State::PCSubmitted);
                phases.precommits_failed += u32::from(messaged);
                phases.tickets_spent += u32::from(!messaged);
                phases.ticket = None;
                phases.pc2 = None;
                phases.verified = false;
                // the chain takes none with that ticket any more
                (phases.precommit_sent, phases.precommit_asked) = (false, false);
                // the manager may hold the precommit with the old ticket
                phases.pc2_re_submit = true;
                outputs.drop.push(Output::Pc1);
            }
            Self::Persist(instance) => phases.persist_instance = Some(instance),
            Self::AssignSeed(seed) => phases.seed = Some(seed),
            Self::SeedChanged => {
                phases.proofs_failed += 1;
                phases.seed = None;
                phases.proof = None;
                phases.c2_re_submit = true;
                outputs.drop.push(Output::C1);
            }
            Self::C1(output) => outputs.keep = Some((Output::C1, output)),
            Self::C2(proof) => phases.proof = Some(Base64(proof)),
            Self::SubmitProof => phases.c2_re_submit = false,
            Self::ReSubmitProof => {
                phases.c2_re_submit = true;
                phases.proofs_failed += 1;
            }
            Self::ProofInvalid => {
                phases.proofs_failed += 1;
                phases.proof = None;
                phases.c2_re_submit = true;
            }
            Self::PreCommitGone => {
                phases.precommits_failed += 1;
                phases.pc2_re_submit = true;
                // another precommit has another seed
                phases.seed = None;
                phases.proof = None;
                phases.c2_re_submit = true;
                outputs.drop.push(Output::C1);
            }
            Self::Abort(reason) => document.abort_reason = Some(reason),
            Self::BuildTreeD | Self::SyntheticPoRep | Self::SubmitPersistance | Self::Finish => {}
        }
        outputs
    }
}
