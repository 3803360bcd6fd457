//! What the state answers about accounts, miners and deadlines.
use damocles_devnet::policy::NetworkPolicy;
use damocles_devnet::power::{CreateMinerParams, CreateMinerReturn};
use damocles_devnet::view::StateError;
use fvm_ipld_encoding::RawBytes;
use fvm_shared::address::Address;
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::ExitCode;

use crate::house::{House, Key, MINER, POST};

#[test]
fn the_genesis_miner_belongs_to_the_owner() {
    let house = House::new(0);
    let state = house.state();
    let owner = state.lookup_id(&house.owner.address()).unwrap();
    assert!((100..1000).contains(&owner));
    let info = state.miner_info(&MINER).unwrap();
    assert_eq!(info.owner, Address::new_id(owner));
    assert_eq!(info.worker, info.owner);
    assert_eq!(info.window_post_partition_sectors, 2);
    assert_eq!(state.list_miners().unwrap(), [MINER]);
    assert!(matches!(
        state.actor(&Key::new(50).address()),
        Err(StateError::ActorNotFound(_))
    ));
    assert!(matches!(
        state.miner_info(&Address::new_id(owner)),
        Err(StateError::NotAMiner { .. })
    ));
    assert!(state.sector_info(&MINER, 1).unwrap().is_none());
    assert!(state.precommit_info(&MINER, 1).unwrap().is_none());
    assert!(state.sector_partition(&MINER, 1).is_err());
}

#[test]
fn the_deadline_told_is_never_past() {
    let house = House::new(2);
    let mut opened = 0;
    for _ in 0..130 {
        let di = house.state().proving_deadline(&MINER).unwrap();
        assert_eq!(di.current_epoch, house.height());
        assert!(di.close > di.current_epoch);
        assert_eq!(di.close - di.open, 10);
        assert_eq!(di.open - di.challenge, 3);
        assert_eq!(di.w_post_proving_period, 60);
        opened += u32::from(di.is_open());
        house.mine(1);
    }
    assert!(
        opened > 100,
        "with a cron, the open deadline is the one told"
    );
}

#[test]
fn creating_a_miner_costs_a_deposit_and_returns_its_addresses() {
    let house = House::new(0);
    house.mine(3);
    let params = CreateMinerParams {
        owner: house.stranger.address(),
        worker: house.stranger.address(),
        window_post_proof_type: POST,
        peer: vec![],
        multiaddrs: vec![],
    };
    let mut message = house.message(Address::new_id(4), 2, RawBytes::serialize(&params).unwrap());
    let receipt = house.send_as(&house.stranger, message.clone());
    assert_eq!(receipt.exit_code, ExitCode::USR_INSUFFICIENT_FUNDS);

    message.value = house.state().creation_deposit();
    let receipt = house.send_as(&house.stranger, message.clone());
    assert_eq!(receipt.exit_code, ExitCode::OK);
    let made: CreateMinerReturn = receipt.return_data.deserialize().unwrap();
    let state = house.state();
    assert_eq!(
        Address::new_id(state.lookup_id(&made.robust_address).unwrap()),
        made.id_address
    );
    let balance = state.actor(&made.id_address).unwrap().balance;
    assert_eq!(balance, message.value);
    let locked = state.miner_state(&made.id_address).unwrap().locked_funds;
    assert!(locked.is_positive() && locked <= balance);
    assert!(
        state.available_balance(&made.id_address).unwrap()
            < TokenAmount::from_atto(balance.atto() / 2)
    );
    assert_eq!(state.list_miners().unwrap().len(), 2);

    let mut secp_worker = params;
    secp_worker.worker = Address::new_id(1);
    message.params = RawBytes::serialize(&secp_worker).unwrap();
    let receipt = house.send_as(&house.stranger, message);
    assert_eq!(receipt.exit_code, ExitCode::USR_ILLEGAL_ARGUMENT);
}

#[test]
fn a_policy_that_cannot_work_tells_all_its_faults() {
    let policy = NetworkPolicy {
        wpost_challenge_window: 7,
        chain_finality: 0,
        ..NetworkPolicy::default()
    };
    let faults = policy.validate().unwrap_err();
    assert!(faults.0.len() >= 2, "{faults}");
    assert!(faults.to_string().contains("chain_finality"));
    assert!(NetworkPolicy::default().validate().is_ok());
    for (deadlines, window) in [(3, 2), (4, 5), (6, 10), (12, 20), (48, 60)] {
        let short = NetworkPolicy::with_periods(deadlines, window);
        assert_eq!(short.validate(), Ok(()), "{deadlines} × {window}");
    }
}

#[test]
fn blocks_chain_by_their_cids_and_carry_the_state() {
    let house = House::new(0);
    house.mine(3);
    let head = house.network.head();
    let parent = house.network.tipset(&head.parents()).unwrap();
    assert_eq!(parent.height, head.height - 1);
    let raw = house.network.read_object(&head.key.0[0]).unwrap();
    assert_eq!(damocles_devnet::message::bytes_cid(&raw), head.key.0[0]);
    let decoded: damocles_devnet::block::BlockHeader = fvm_ipld_encoding::from_slice(&raw).unwrap();
    assert_eq!(decoded, head.blocks[0]);
    assert!(house.network.read_object(&head.parent_state()).is_some());
    assert_eq!(
        head.blocks[0].timestamp - parent.blocks[0].timestamp,
        house.network.policy().block_delay_secs
    );
}
