//! `util deals …`: clients' data that is to be sealed.

use super::{client::Manager, sectors::actor, show};
use anyhow::Context;
use clap::{Args, Subcommand};
use damocles_api::deals::{AddDeal, DamoclesDealsClient, DealFilter, DealView};
use damocles_daemon::{
    exit::{Exit, Fatal},
    table::Table,
};
use damocles_types::ActorId;
use std::{fs, path::PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Deals {
    /// Put a deal into the queue, if the chain has it as it is described
    #[command(after_help = "\
Examples:
  damocles-manager util deals add --miner 1000 --allocation-id 12 --client f01234 --piece-cid baga6ea4seaq… --size 34359738368 --piece https://store/x.car
  damocles-manager util deals add --miner 1000 --deal-id 45 --piece-cid baga6ea4seaq… --size 34359738368
  damocles-manager util deals add --csv deals.csv

A line of the file has the fields miner,id,client,piece-cid,size,payload-size,piece, the last two may be empty:
  1000,allocation-12,f01234,baga6ea4seaq…,34359738368,,/data/x.car")]
    Add(Add),
    /// The queue: what waits, or all
    #[command(after_help = "\
Examples:
  damocles-manager util deals list
  damocles-manager util deals list --state Sealed --json")]
    List {
        /// Only of this miner, 1000 or t01000
        #[arg(long, value_parser = actor)]
        miner: Option<ActorId>,
        /// Waiting, InSector, Sealed, Cancelled, Expired, Returning, Returned or all
        #[arg(long, default_value = "Waiting")]
        state: String,
        /// At most so many
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A deal, and what became of it
    #[command(after_help = "\
Example:
  damocles-manager util deals show allocation-12")]
    Show {
        /// allocation-12 or deal-45
        deal: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a deal out of the queue that is in no sector
    #[command(after_help = "\
Example:
  damocles-manager util deals cancel allocation-12")]
    Cancel {
        /// allocation-12 or deal-45
        deal: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct Add {
    /// The miner that it is for, 1000 or t01000
    #[arg(long, value_parser = actor, required_unless_present = "csv")]
    miner: Option<ActorId>,
    /// Number of the allocation in the verified registry
    #[arg(long, conflicts_with = "deal_id", required_unless_present_any = ["deal_id", "csv"])]
    allocation_id: Option<u64>,
    /// Number of the deal in the storage market
    #[arg(long)]
    deal_id: Option<u64>,
    /// Whose allocation it is
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// CommP, as a CID
    #[arg(long, required_unless_present = "csv")]
    piece_cid: Option<String>,
    /// Padded bytes of the piece, a power of two
    #[arg(long, required_unless_present = "csv")]
    size: Option<u64>,
    /// Bytes of the data [default: as many as fit]
    #[arg(long)]
    payload_size: Option<u64>,
    /// Where the data is: a URL, or the whole path of a file on the manager's host [default: in its
    /// piece stores]
    #[arg(long, value_name = "FILE|URL")]
    piece: Option<String>,
    /// A file with a deal on each line
    #[arg(long, conflicts_with_all = ["miner", "allocation_id", "deal_id", "piece_cid", "size", "client", "payload_size", "piece"])]
    csv: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn usage(what: impl std::fmt::Display) -> Fatal {
    Fatal::new(Exit::Usage, what)
}

/// The deals that a person names.
fn wanted(add: &Add) -> anyhow::Result<Vec<AddDeal>> {
    if let Some(path) = &add.csv {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        return Ok(lines(&text).map_err(usage)?);
    }
    let id = match (add.allocation_id, add.deal_id) {
        (Some(number), _) => format!("allocation-{number}"),
        (None, number) => format!("deal-{}", number.unwrap_or_default()),
    };
    let cid = add.piece_cid.as_deref().unwrap_or_default();
    let cid: cid::Cid = cid
        .parse()
        .map_err(|_| usage(format!("{cid:?} is no CID")))?;
    Ok(vec![AddDeal {
        id,
        provider: add.miner.unwrap_or_default(),
        client: add.client.clone(),
        piece_cid: cid.into(),
        size: add.size.unwrap_or_default(),
        payload_size: add.payload_size,
        place: add.piece.clone(),
    }])
}

/// Deals of a file; empty lines, those that begin with `#` and a head are passed over. Pure.
fn lines(text: &str) -> Result<Vec<AddDeal>, String> {
    let mut deals = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("miner,") {
            continue;
        }
        let deal = of_line(line).map_err(|why| format!("line {}: {why}", at + 1))?;
        deals.push(deal);
    }
    Ok(deals)
}

fn of_line(line: &str) -> Result<AddDeal, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [miner, id, client, cid, size, rest @ ..] = &fields[..] else {
        return Err(
            "it has too few fields; write miner,id,client,piece-cid,size,payload-size,piece".into(),
        );
    };
    let given = |text: Option<&&str>| text.map(|t| (*t).to_owned()).filter(|t| !t.is_empty());
    let payload = given(rest.first()).map(|t| t.parse::<u64>());
    Ok(AddDeal {
        id: (*id).to_owned(),
        provider: actor(miner).map_err(|e| e.to_string())?,
        client: given(Some(client)),
        piece_cid: cid
            .parse::<cid::Cid>()
            .map_err(|_| format!("{cid:?} is no CID"))?
            .into(),
        size: size
            .parse()
            .map_err(|_| format!("{size:?} is no size in bytes"))?,
        payload_size: payload
            .transpose()
            .map_err(|_| "the payload's size is no number")?,
        place: given(rest.get(1)),
    })
}

pub(super) async fn run(manager: &Manager, command: Deals) -> anyhow::Result<()> {
    let rpc = &manager.rpc;
    match command {
        Deals::Add(add) => {
            let wanted = wanted(&add)?;
            let (mut added, mut failed) = (Vec::new(), 0);
            let many = wanted.len() > 1;
            for deal in wanted {
                let id = deal.id.clone();
                match rpc.add_deal(deal).await.map_err(|e| manager.failed(e)) {
                    Ok(view) => added.push(view),
                    // of a file the others are added all the same
                    Err(error) if many && error.exit == Exit::Refused => {
                        eprintln!("{id}: {error}");
                        failed += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if add.json {
                show::json(&added)?;
            } else {
                print(&added);
            }
            if failed > 0 {
                let what = format!("{failed} of {} deals were refused", failed + added.len());
                return Err(Fatal::new(Exit::Refused, what).into());
            }
            Ok(())
        }
        Deals::List {
            miner,
            state,
            limit,
            json,
        } => {
            let filter = DealFilter {
                provider: miner,
                state: (state != "all").then_some(state),
            };
            let pages = async |want| rpc.deals(filter.clone(), want).await;
            let found = manager.pages(limit, pages).await?;
            if json {
                return show::json(&found);
            }
            print(&found);
            Ok(())
        }
        Deals::Show { deal, json } => {
            let found = rpc.deal(deal).await.map_err(|e| manager.failed(e))?;
            tell(&found, json)
        }
        Deals::Cancel { deal, json } => {
            let found = rpc.cancel_deal(deal).await.map_err(|e| manager.failed(e))?;
            tell(&found, json)
        }
    }
}

fn print(deals: &[DealView]) {
    if deals.is_empty() {
        println!("no such deals in the queue");
        return;
    }
    let mut table = Table::new(
        &[
            "deal", "miner", "client", "size", "start by", "state", "sector", "note",
        ],
        &["note"],
    );
    for d in deals {
        table.add_row([
            d.id.clone(),
            d.provider.to_string(),
            d.client.to_string(),
            show::bytes(d.size),
            d.start_by.to_string(),
            d.state.clone(),
            show::or_dash(d.sector),
            show::or_dash(d.note.as_ref()),
        ]);
    }
    show::print(&table);
}

fn tell(d: &DealView, json: bool) -> anyhow::Result<()> {
    if json {
        return show::json(d);
    }
    let lasts = match (d.term, d.until) {
        (Some([min, max]), _) => format!("{min} to {max} epochs from its activation on"),
        (None, until) => format!("until epoch {}", show::or_dash(until)),
    };
    let lines = [
        ("deal", d.id.clone()),
        ("miner", d.provider.to_string()),
        ("client", d.client.to_string()),
        ("piece", d.piece_cid.cid.to_string()),
        (
            "size",
            format!("{} ({} bytes of data)", show::bytes(d.size), d.payload_size),
        ),
        (
            "data",
            d.place
                .clone()
                .unwrap_or_else(|| "in the piece stores".into()),
        ),
        ("start by", format!("epoch {}", d.start_by)),
        ("lasts", lasts),
        ("state", d.state.clone()),
        ("sector", show::or_dash(d.sector)),
        ("note", show::or_dash(d.note.as_ref())),
    ];
    show::lines(lines);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_deal_on_each_line() {
        let cid = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq";
        let text = format!(
            "miner,id,client,piece-cid,size,payload-size,piece\n# ours\n\n1000,allocation-7,f0101,{cid},2048,,/data/x.car\nt01000, deal-8,,{cid}, 4096, 100\n"
        );
        let deals = lines(&text).unwrap();
        assert_eq!(deals.len(), 2);
        assert_eq!(
            (deals[0].id.as_str(), deals[0].place.as_deref()),
            ("allocation-7", Some("/data/x.car"))
        );
        assert_eq!(
            (deals[1].provider, deals[1].payload_size),
            (1000, Some(100))
        );
        assert_eq!((&deals[1].client, &deals[1].place), (&None, &None));
        for (line, why) in [
            ("1000,deal-1", "line 1: it has too few fields"),
            ("x,deal-1,,y,1", "line 1"),
            ("1000,deal-1,,y,1", "is no CID"),
            (&format!("1000,deal-1,,{cid},x"), "no size"),
            (&format!("1000,deal-1,,{cid},1,y"), "payload"),
        ] {
            let error = lines(line).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
