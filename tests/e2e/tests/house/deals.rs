//! Clients' data goes its whole way: one piece is handed in over HTTP, one lies beside the manager;
//! they and a deal of the market are put into the queue by the command line, sealed in one sector,
//! claimed, activated, and proven.

use crate::road::{A_C2, SOON, until};
use anyhow::{Context, Result, ensure};
use damocles_api::deals::{DamoclesDealsClient, DealView};
use damocles_e2e::{
    house::{Files, House, MINER, manager_at},
    process, rpc,
    scenario::{Gate, scenario},
};
use damocles_node::{Allocation, MarketDeal, deal::VerifiedClaim, method};
use damocles_processor::verify::piece_commitment;
use damocles_types::SectorId;
use fvm_shared::address::Address;
use serde_json::{Value, json};
use std::{fs, time::Duration};

const SECTOR: SectorId = SectorId::new(MINER, 1);
/// 180 days and 5 years: the shortest and the longest that the network has.
const TERM: [i64; 2] = [180 * 2880, 5 * 365 * 2880];

/// A client's data, and its piece.
struct Data {
    bytes: Vec<u8>,
    cid: cid::Cid,
    size: u64,
}

impl Data {
    fn new(of: u8, length: usize, size: u64) -> Result<Self> {
        let bytes: Vec<u8> = (0..length).map(|n| of.wrapping_mul(n as u8)).collect();
        let root = piece_commitment(&mut &bytes[..], length as u64, size)?;
        let cid = root.unsealed_cid();
        Ok(Self { bytes, cid, size })
    }
}

#[test]
fn data_is_sealed_claimed_and_proven() {
    let limit = Duration::from_secs(900);
    scenario("deals", Files::deals(), 1, limit, async |house| {
        let c2 = Gate::of(house, "c2");
        c2.shut("before")?;
        house.start_devnet().await?;
        fs::create_dir(house.path("pieces"))?;
        house.start_manager().await?;
        let data = [
            Data::new(3, 500, 512)?,
            Data::new(5, 1000, 1024)?,
            Data::new(7, 200, 256)?,
        ];
        hand_in(house, &data[0]).await?;
        fs::write(house.path("beside.car"), &data[1].bytes)?;
        fs::write(
            house.path("pieces").join(data[2].cid.to_string()),
            &data[2].bytes,
        )?;
        let client = client(house).await?;
        let first = allocate(house, &client, &data[0]).await?;
        let second = allocate(house, &client, &data[1]).await?;
        let third = publish(house, &client, &data[2]).await?;
        add(
            house,
            &data[0],
            &["--allocation-id", &first.to_string(), "--client", &client],
            None,
        )
        .await?;
        let beside = house.path("beside.car").display().to_string();
        let place = Some(beside.as_str());
        add(
            house,
            &data[1],
            &["--allocation-id", &second.to_string(), "--client", &client],
            place,
        )
        .await?;
        add(house, &data[2], &["--deal-id", &third.to_string()], None).await?;
        let number = second.to_string();
        let others = ["--allocation-id", &number, "--client", &client];
        let wrong = add(house, &data[0], &others, None).await;
        let why = wrong.unwrap_err().to_string();
        ensure!(
            why.contains("for piece"),
            "another one's allocation is refused: {why}"
        );

        house.start_worker().await?;
        until(house, "the deals to be in the sector", SOON, async || {
            let all = deals(house).await?;
            let within = all.iter().filter(|d| d.sector == Some(SECTOR)).count();
            Ok((within == 3).then_some(()))
        })
        .await?;
        c2.open()?;
        until(house, "the sector to be finished", A_C2, async || {
            let sectors = house.sectors().await?;
            Ok(sectors.first().filter(|s| s.finalized).map(drop))
        })
        .await?;
        let node = house.node()?;
        for (number, data) in [(first, &data[0]), (second, &data[1])] {
            let params = [json!(format!("t0{MINER}")), json!(number), Value::Null];
            let claim: Option<VerifiedClaim> =
                node.rpc.call(method::STATE_GET_CLAIM, params).await?;
            let claim = claim.context("it is claimed")?;
            ensure!(
                (claim.sector, claim.size) == (1, data.size) && claim.data == data.cid,
                "{claim:?}"
            );
        }
        let deal: MarketDeal = node
            .rpc
            .call(
                method::STATE_MARKET_STORAGE_DEAL,
                [json!(third), Value::Null],
            )
            .await?;
        ensure!(
            deal.state.sector_start_epoch > 0,
            "the deal is active: {deal:?}"
        );
        let sector = node
            .sector(MINER, 1)
            .await?
            .context("the sector is on chain")?;
        ensure!(
            sector.verified_deal_weight > sector.deal_weight,
            "{sector:?}"
        );
        let all = deals(house).await?;
        ensure!(all.iter().all(|d| d.state == "Sealed"), "{all:?}");
        until(house, "its first WindowPoSt", SOON * 2, async || {
            let posts = node.posts(MINER).await?;
            Ok(posts.first().filter(|post| post.sectors == [1]).map(drop))
        })
        .await
    });
}

async fn deals(house: &House) -> Result<Vec<DealView>> {
    let manager = house.manager()?;
    let page = manager
        .typed()
        .deals(Default::default(), Default::default())
        .await?;
    Ok(page.items)
}

/// As a client's program hands in a piece.
async fn hand_in(house: &House, data: &Data) -> Result<()> {
    let address = house.manager_address()?;
    let path = format!("/piecestore/{}", data.cid);
    let (status, said) = rpc::put(&address, &path, &data.bytes).await?;
    ensure!(status == 201, "{status} {said}");
    let (status, _) = rpc::put(&address, &path, b"something else").await?;
    ensure!(status == 201, "it is here, and stays");
    Ok(())
}

/// An account of the network, as an ID address.
async fn client(house: &House) -> Result<String> {
    let node = house.node()?;
    let key = node.key().await?;
    node.rpc
        .call(method::STATE_LOOKUP_ID, [json!(key), Value::Null])
        .await
}

async fn allocate(house: &House, client: &str, data: &Data) -> Result<u64> {
    let node = house.node()?;
    let client: Address = damocles_node::wire::parse_address(client)?;
    let allocation = Allocation {
        client: client.id()?,
        provider: MINER,
        data: data.cid,
        size: data.size,
        term_min: TERM[0],
        term_max: TERM[1],
        expiration: node.epoch().await? + 100_000,
    };
    node.rpc
        .call(method::DEVNET_ALLOCATE, [json!(allocation)])
        .await
}

async fn publish(house: &House, client: &str, data: &Data) -> Result<u64> {
    let node = house.node()?;
    let start = node.epoch().await? + 10_000;
    let proposal = |label: &str| {
        json!({
            "PieceCID": {"/": data.cid.to_string()}, "PieceSize": data.size, "VerifiedDeal": false,
            "Client": client, "Provider": format!("t0{MINER}"), "Label": label, "StartEpoch": start,
            "EndEpoch": start + 200 * 2880, "StoragePricePerEpoch": "0", "ProviderCollateral": "0",
            "ClientCollateral": "0",
        })
    };
    let publish = async |label| {
        let params = [proposal(label)];
        node.rpc
            .call::<u64>(method::DEVNET_PUBLISH_DEAL, params)
            .await
    };
    // the first of a network has the number 0, by which upstream's workers know a filler
    publish("the first").await?;
    publish("ours").await
}

/// As an operator does it, once the chain has it.
async fn add(house: &House, data: &Data, id: &[&str], place: Option<&str>) -> Result<()> {
    let miner = MINER.to_string();
    let (cid, size) = (data.cid.to_string(), data.size.to_string());
    let payload = data.bytes.len().to_string();
    house
        .until("the deal to be in the queue", SOON, async || {
            let mut command = manager_at(&house.path("manager"))?;
            command.args([
                "util",
                "deals",
                "add",
                "--miner",
                &miner,
                "--piece-cid",
                &cid,
            ]);
            command
                .args(["--size", &size, "--payload-size", &payload])
                .args(id);
            if let Some(place) = place {
                command.args(["--piece", place]);
            }
            let said = process::run(command, SOON).await?;
            // the next tipset has it
            if said.err.contains("the chain has no such") {
                return Ok(None);
            }
            ensure!(said.status.success(), "{}", said.err);
            Ok(Some(()))
        })
        .await
}
