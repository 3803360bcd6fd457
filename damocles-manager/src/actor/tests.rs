//! What an order means, as tables; and orders on a scripted chain.

use super::{
    order::{Order as O, State, plan},
    *,
};
use crate::{
    chain::{Facts, HeadFollower, script::ScriptChain},
    db::Db,
    policy::tests::miner,
};
use damocles_node::{BeneficiaryTerm, PendingBeneficiaryChange};
use damocles_types::{Epoch, SealProof, SectorSize};
use fvm_ipld_bitfield::BitField;
use fvm_ipld_encoding::from_slice;

fn id(n: u64) -> Address {
    Address::new_id(n)
}

fn fil(n: i64) -> TokenAmount {
    TokenAmount::from_whole(n)
}

fn info() -> MinerInfo {
    let chain = ScriptChain::at(10);
    chain.add_miner(1000);
    let mut info = chain.edit().miners[&1000].clone();
    (info.owner, info.worker) = (id(100), id(101));
    info.control_addresses = vec![id(102)];
    info.beneficiary = id(100);
    info
}

fn state() -> State {
    State {
        info: info(),
        available: fil(7),
        height: 1000,
    }
}

fn named(approved: bool) -> PendingBeneficiaryChange {
    PendingBeneficiaryChange {
        new_beneficiary: id(105),
        new_quota: fil(9),
        new_expiration: 5000,
        approved_by_beneficiary: approved,
        approved_by_nominee: false,
    }
}

#[test]
fn orders_are_messages_of_those_who_may_send_them() {
    let debtor = State {
        available: fil(-2),
        ..state()
    };
    let mut changing = state();
    changing.info.pending_owner_address = Some(id(103));
    (changing.info.new_worker, changing.info.worker_change_epoch) = (Some(id(104)), 900);
    changing.info.pending_beneficiary_term = Some(named(true));
    changing.info.beneficiary = id(106);
    changing.info.beneficiary_term = Some(BeneficiaryTerm {
        quota: fil(1),
        used_quota: fil(0),
        expiration: 9000,
    });
    let withdraw = |amount, by_beneficiary| O::Withdraw {
        amount,
        by_beneficiary,
    };
    let owner = |new, from| O::SetOwner {
        new: id(new),
        from: id(from),
    };
    let none = TokenAmount::default;
    // order, from, method, value, whether something has to follow
    let cases = [
        (&state(), withdraw(None, false), 100, 16, none(), false),
        (
            &changing,
            withdraw(Some(fil(3)), true),
            106,
            16,
            none(),
            false,
        ),
        (
            &state(),
            O::AddBalance {
                from: id(9),
                amount: fil(5),
            },
            9,
            0,
            fil(5),
            false,
        ),
        (
            &debtor,
            O::RepayDebt {
                amount: None,
                from: None,
            },
            100,
            22,
            fil(2),
            false,
        ),
        (
            &debtor,
            O::RepayDebt {
                amount: Some(fil(1)),
                from: Some(id(102)),
            },
            102,
            22,
            fil(1),
            false,
        ),
        (&state(), owner(103, 100), 100, 23, none(), true),
        (&changing, owner(103, 103), 103, 23, none(), false),
        (&changing, owner(100, 100), 100, 23, none(), false),
        (
            &state(),
            O::SetControl { addresses: vec![] },
            100,
            3,
            none(),
            false,
        ),
        (
            &state(),
            O::ProposeWorker { worker: id(104) },
            100,
            3,
            none(),
            true,
        ),
        (
            &changing,
            O::ConfirmWorker { worker: id(104) },
            100,
            21,
            none(),
            false,
        ),
        (
            &state(),
            O::ProposeBeneficiary {
                beneficiary: id(105),
                quota: fil(9),
                expiration: 5000,
                overwrite: false,
            },
            100,
            30,
            none(),
            true,
        ),
        (
            &changing,
            O::ConfirmBeneficiary { by_new: true },
            105,
            30,
            none(),
            false,
        ),
        (
            &changing,
            O::ConfirmBeneficiary { by_new: false },
            106,
            30,
            none(),
            true,
        ),
        (
            &state(),
            O::CompactNumbers { below: u64::MAX },
            100,
            20,
            none(),
            false,
        ),
    ];
    for (state, order, from, method, value, follows) in cases {
        let planned = plan(order.clone(), state).unwrap_or_else(|e| panic!("{order:?}: {e}"));
        assert_eq!(
            (planned.from, planned.method, &planned.value),
            (id(from), method, &value),
            "{order:?}"
        );
        assert_eq!(planned.then.is_some(), follows, "{order:?}");
    }
}

#[test]
fn an_order_that_makes_no_sense_is_told_why() {
    let mut changing = state();
    (changing.info.new_worker, changing.info.worker_change_epoch) = (Some(id(104)), 1200);
    changing.info.pending_owner_address = Some(id(103));
    changing.info.pending_beneficiary_term = Some(named(false));
    let poor = State {
        available: fil(0),
        ..state()
    };
    let beneficiary = |expiration: Epoch| O::ProposeBeneficiary {
        beneficiary: id(107),
        quota: fil(1),
        expiration,
        overwrite: false,
    };
    let withdraw = |amount| O::Withdraw {
        amount,
        by_beneficiary: false,
    };
    let owner = |new, from| O::SetOwner {
        new: id(new),
        from: id(from),
    };
    for (state, order, why) in [
        (&poor, withdraw(None), "nothing to withdraw"),
        (&state(), withdraw(Some(fil(8))), "more than the 7.0 FIL"),
        (&state(), withdraw(Some(fil(0))), "more than nothing"),
        (
            &state(),
            O::RepayDebt {
                amount: None,
                from: None,
            },
            "owes no fees",
        ),
        (&state(), owner(100, 100), "owner already"),
        (&state(), owner(103, 103), "has to name the new one first"),
        (&changing, owner(109, 109), "0103 is named"),
        (
            &state(),
            O::SetControl {
                addresses: vec![id(102)],
            },
            "already",
        ),
        (
            &state(),
            O::SetControl {
                addresses: vec![id(5), id(5)],
            },
            "0005 is named twice",
        ),
        (
            &state(),
            O::ProposeWorker { worker: id(101) },
            "worker already",
        ),
        (
            &changing,
            O::ProposeWorker { worker: id(108) },
            "0104 is named",
        ),
        (
            &changing,
            O::ConfirmWorker { worker: id(104) },
            "from epoch 1200 on, in 200",
        ),
        (&changing, O::ConfirmWorker { worker: id(105) }, "and not"),
        (
            &state(),
            O::ConfirmWorker { worker: id(104) },
            "no other worker",
        ),
        (&state(), beneficiary(1000), "behind the head"),
        (&changing, beneficiary(2000), "0105 is named"),
        (
            &state(),
            O::ConfirmBeneficiary { by_new: true },
            "no other beneficiary",
        ),
        (&state(), O::CompactNumbers { below: 0 }, "below 0"),
    ] {
        let said = plan(order.clone(), state).unwrap_err().to_string();
        let why = why.replace("0005", "05");
        assert!(said.contains(&why), "{order:?}: {said}");
    }
}

#[test]
fn parameters_are_those_of_the_actor() {
    use fil_actor_miner_state::v18::{
        ChangeBeneficiaryParams, ChangeOwnerAddressParams, ChangeWorkerAddressParams,
        CompactSectorNumbersParams, WithdrawBalanceParams,
    };
    let params = |order| plan(order, &state()).unwrap().params;
    let worker: ChangeWorkerAddressParams =
        from_slice(&params(O::ProposeWorker { worker: id(104) })).unwrap();
    assert_eq!(worker.new_worker, id(104));
    assert_eq!(worker.new_control_addresses, [id(102)], "they stay");
    let control = O::SetControl {
        addresses: vec![id(103), id(104)],
    };
    let control: ChangeWorkerAddressParams = from_slice(&params(control)).unwrap();
    assert_eq!(control.new_worker, id(101), "it stays");
    assert_eq!(control.new_control_addresses, [id(103), id(104)]);
    let all = O::Withdraw {
        amount: None,
        by_beneficiary: false,
    };
    let all: WithdrawBalanceParams = from_slice(&params(all)).unwrap();
    assert_eq!(all.amount_requested, fil(7));
    let numbers: CompactSectorNumbersParams =
        from_slice(&params(O::CompactNumbers { below: 5 })).unwrap();
    let expected = BitField::try_from_bits(0..5).unwrap();
    assert_eq!(numbers.mask_sector_numbers, expected);
    let owner = O::SetOwner {
        new: id(103),
        from: id(100),
    };
    let owner: ChangeOwnerAddressParams = from_slice(&params(owner)).unwrap();
    assert_eq!(owner.new_owner, id(103));
    let back = O::ProposeBeneficiary {
        beneficiary: id(100),
        quota: fil(5),
        expiration: 9000,
        overwrite: false,
    };
    let back: ChangeBeneficiaryParams = from_slice(&params(back)).unwrap();
    assert_eq!((back.new_quota, back.new_expiration), (fil(0), 0));
}

struct House {
    db: Db,
    chain: Arc<ScriptChain>,
    actors: Actors,
}

fn house() -> House {
    let chain = Arc::new(ScriptChain::at(1000));
    chain.add_miner(1000);
    chain.edit().available.insert(1000, fil(7));
    let db = Db::in_memory();
    let shared: Arc<dyn Chain> = chain.clone();
    let (_, head) = HeadFollower::new(shared.clone(), Facts::new(shared.clone()));
    let messages = Engine::new(db.clone(), shared.clone(), head);
    let served = Served::new(vec![miner(1000)]);
    let actors = Actors::new(db.clone(), shared, served, messages);
    House { db, chain, actors }
}

fn all() -> ActorOrder {
    ActorOrder::Withdraw {
        amount: None,
        by_beneficiary: false,
    }
}

#[tokio::test]
async fn an_order_is_one_message_and_a_question_none() {
    let house = house();
    let told = house.actors.order(1000, all(), false, None).await.unwrap();
    assert_eq!(told.message, None);
    assert!(told.what.contains("withdraw 7.0 FIL"), "{}", told.what);
    assert!(house.db.open_messages().unwrap().is_empty());
    let first = house.actors.order(1000, all(), true, None).await.unwrap();
    let again = house.actors.order(1000, all(), true, None).await.unwrap();
    assert_eq!(first.message, again.message);
    let open = house.db.open_messages().unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].kind, MessageKind::ActorOrder);
    assert_eq!(open[0].note.as_deref(), Some(first.what.as_str()));
    // another one is another message
    let less = ActorOrder::Withdraw {
        amount: Some("5".into()),
        by_beneficiary: false,
    };
    house.actors.order(1000, less, true, None).await.unwrap();
    assert_eq!(house.db.open_messages().unwrap().len(), 2);
}

#[tokio::test]
async fn an_order_with_the_id_of_another_is_that_one_also_when_it_is_over() {
    let house = house();
    let id = MessageId::new().to_string();
    let add = || ActorOrder::AddBalance {
        from: "t0101".into(),
        amount: "5".into(),
    };
    for _ in 0..2 {
        let told = house.actors.order(1000, add(), true, Some(id.clone()));
        assert_eq!(told.await.unwrap().message, Some(id.clone()));
    }
    assert_eq!(house.db.open_messages().unwrap().len(), 1);
    let wrong = house.actors.order(1000, add(), true, Some("x".into()));
    assert!(matches!(wrong.await.unwrap_err(), OrderError::NoId(_)));
}

#[tokio::test]
async fn what_one_order_does_no_other_takes_back_that_was_made_without_it() {
    let house = house();
    house.chain.edit().balances.insert(id(104), fil(1));
    let control = || ActorOrder::SetControl {
        addresses: vec!["t0104".into()],
    };
    let worker = ActorOrder::ProposeWorker {
        worker: "t0104".into(),
    };
    let first = house
        .actors
        .order(1000, control(), true, None)
        .await
        .unwrap();
    let again = house
        .actors
        .order(1000, control(), true, None)
        .await
        .unwrap();
    assert_eq!(first.message, again.message);
    let busy = house
        .actors
        .order(1000, worker, true, None)
        .await
        .unwrap_err();
    assert!(busy.to_string().contains(&first.message.unwrap()), "{busy}");
    // its money is another thing
    house.actors.order(1000, all(), true, None).await.unwrap();
}

#[tokio::test]
async fn the_number_of_a_sector_that_is_being_sealed_is_not_marked_as_used() {
    let house = house();
    let proof = SealProof::interactive(SectorSize::KiB2);
    let allocated = house.db.allocate(1000, proof, 4, 1000, Some).unwrap();
    let number = allocated.unwrap().id.number;
    let compact = |below| ActorOrder::CompactNumbers {
        below: Some(below),
        but_last: None,
    };
    let lost = house
        .actors
        .order(1000, compact(number + 1), true, None)
        .await;
    assert!(matches!(lost.unwrap_err(), OrderError::Sealed(ids) if ids.len() == 1));
    house
        .actors
        .order(1000, compact(number), true, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_order_that_nobody_here_can_send_is_refused() {
    let house = house();
    let refused = async |order| {
        let refused = house.actors.order(1000, order, true, None).await;
        refused.unwrap_err().to_string()
    };
    house.chain.edit().no_keys = [id(100)].into();
    assert!(refused(all()).await.contains("has its key"));
    let from = |from: &str| ActorOrder::AddBalance {
        from: from.to_owned(),
        amount: "5".into(),
    };
    assert!(refused(from("x")).await.contains("not a Filecoin address"));
    assert!(refused(from("t0999")).await.contains("no actor t0999"));
    let nonsense = ActorOrder::AddBalance {
        from: "t0101".into(),
        amount: "much".into(),
    };
    assert!(refused(nonsense).await.contains("no amount"));
    assert!(house.db.open_messages().unwrap().is_empty());
    let stranger = house
        .actors
        .order(2000, all(), true, None)
        .await
        .unwrap_err();
    assert!(matches!(stranger, OrderError::NoMiner(2000)));
}

#[tokio::test]
async fn who_may_act_and_who_signs_is_told() {
    let house = house();
    house.chain.edit().no_keys = [id(101)].into();
    let view = house.actors.addresses(1000).await.unwrap();
    let told: Vec<_> = view
        .addresses
        .iter()
        .map(|a| (a.role.as_str(), a.signer.as_str(), a.sends.len()))
        .collect();
    assert_eq!(
        told,
        [
            ("owner", "node", 3),
            ("worker", "node", 3),
            ("control-0", "nobody", 0),
            ("beneficiary", "node", 3),
        ]
    );
    assert_eq!(view.available, "7.0");
    assert!(view.pending.is_empty());
    {
        let mut script = house.chain.edit();
        let info = script.miners.get_mut(&1000).unwrap();
        info.new_worker = Some(id(104));
        info.pending_beneficiary_term = Some(named(true));
    }
    let view = house.actors.addresses(1000).await.unwrap();
    assert_eq!(view.pending.len(), 2, "{:?}", view.pending);
}
