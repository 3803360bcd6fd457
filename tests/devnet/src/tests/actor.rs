//! Who may act for a miner and who gets its money, as on builtin-actors v18. (That whoever may not
//! call is refused, `commit` and `post` see too: it is one check.)
use fil_actor_miner_state::v18::{
    ChangeBeneficiaryParams, ChangeOwnerAddressParams, CompactSectorNumbersParams, MinerInfo,
    WithdrawBalanceParams, WithdrawBalanceReturn,
};

use super::*;

/// Some other actor that there is.
const OTHER: Address = Address::new_id(4);

impl House {
    fn code<P: Serialize>(&self, method: u64, params: &P) -> ExitCode {
        let receipt = self.call(method, params, TokenAmount::default());
        receipt.exit_code
    }

    fn info(&self) -> MinerInfo {
        self.state().miner_info(&MINER).unwrap()
    }
}

#[test]
fn an_owner_names_another_one_and_takes_it_back() {
    let house = House::new(NetworkPolicy::with_periods(6, 10));
    let owner = house.info().owner;
    let name = |new_owner| ChangeOwnerAddressParams { new_owner };
    assert_eq!(house.code(23, &name(OTHER)), ExitCode::OK);
    assert_eq!(house.info().pending_owner_address, Some(OTHER));
    assert_eq!(house.info().owner, owner, "until that one confirms it");
    assert_eq!(house.code(23, &name(owner)), ExitCode::OK);
    assert_eq!(house.info().pending_owner_address, None);
    let key = Address::new_bls(&house.key.public_key().as_bytes()).unwrap();
    let wrong = ExitCode::USR_ILLEGAL_ARGUMENT;
    assert_eq!(house.code(23, &name(key)), wrong, "an ID it has to be");
}

#[test]
fn a_beneficiary_is_agreed_upon_by_both() {
    let house = House::new(NetworkPolicy::with_periods(6, 10));
    let owner = house.info().owner;
    let propose = |to, quota, until| {
        let quota = TokenAmount::from_whole(quota);
        ChangeBeneficiaryParams::new(to, quota, until)
    };
    let wrong = ExitCode::USR_ILLEGAL_ARGUMENT;
    assert_eq!(house.code(30, &propose(OTHER, 0, 9000)), wrong);
    assert_eq!(house.code(30, &propose(owner, 1, 0)), wrong);
    assert_eq!(house.code(30, &propose(OTHER, 3, 9000)), ExitCode::OK);
    let pending = house.info().pending_beneficiary_term.unwrap();
    assert_eq!(pending.new_beneficiary, OTHER);
    assert!(pending.approved_by_beneficiary, "the owner is that");
    assert!(!pending.approved_by_nominee);
    assert_eq!(house.info().beneficiary, owner);
    // back at the owner's, who is both
    assert_eq!(house.code(30, &propose(owner, 0, 0)), ExitCode::OK);
    assert_eq!(house.info().pending_beneficiary_term, None);
}

#[test]
fn no_more_is_withdrawn_than_may_be_spent() {
    let house = House::new(NetworkPolicy::with_periods(6, 10));
    let available = || {
        let state = house.state();
        state.available_balance(&MINER).unwrap()
    };
    let (before, three) = (available(), TokenAmount::from_whole(3));
    let paid = house.call(0, &(), three.clone());
    assert_eq!(paid.exit_code, ExitCode::OK);
    assert_eq!(available(), &before + &three);
    let ask = |amount: &TokenAmount| {
        let params = WithdrawBalanceParams {
            amount_requested: amount.clone(),
        };
        let receipt = house.call(16, &params, TokenAmount::default());
        assert_eq!(receipt.exit_code, ExitCode::OK);
        let told: WithdrawBalanceReturn = receipt.return_data.deserialize().unwrap();
        told.amount_withdrawn
    };
    assert_eq!(ask(&three), three);
    assert_eq!(available(), before);
    assert_eq!(ask(&(&before + &three)), before);
    assert_eq!(available(), TokenAmount::default());
    let params = WithdrawBalanceParams {
        amount_requested: -three,
    };
    assert_eq!(house.code(16, &params), ExitCode::USR_ILLEGAL_ARGUMENT);
}

#[test]
fn numbers_that_are_marked_as_used_are_used() {
    let house = House::new(NetworkPolicy::with_periods(6, 10));
    let mask = |numbers: std::ops::Range<u64>| CompactSectorNumbersParams {
        mask_sector_numbers: BitField::try_from_bits(numbers).unwrap(),
    };
    assert_eq!(house.code(20, &mask(0..7)), ExitCode::OK);
    let used = house.state().allocated(&MINER).unwrap();
    assert_eq!(used, BitField::try_from_bits(0..7).unwrap());
    let none = ExitCode::USR_ILLEGAL_ARGUMENT;
    assert_eq!(house.code(20, &mask(0..0)), none);
}
