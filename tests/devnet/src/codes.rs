//! Code CIDs of builtin actors under an older network version. The tree holds those of the newest;
//! a network that was ordered to be of version 27 says what such a network says, so that programs
//! that know no later one can read it. The state itself is of the same shape in both.

use cid::Cid;

use crate::tree::code_name;

/// Of the v17 "devnet" bundle of builtin actors, which network version 27 runs.
const CODES_V17: [(&str, &str); 16] = [
    (
        "account",
        "bafk2bzacebaypq6rlsiz75i3pehycyj7azbkafrnslsbfj7qz2moglqvw3j7y",
    ),
    (
        "cron",
        "bafk2bzaced4dannurcuwpn4t4nufoi3a34rgfd37qzqtt3vhejeavzobc3zlu",
    ),
    (
        "datacap",
        "bafk2bzaceab2s2lw5reanpb4snxlwp3gxnbia3zgrfjz4uhdfco2v3uvtvm7o",
    ),
    (
        "eam",
        "bafk2bzacedfkflqrpu2rrel25r7qxeadfkl2wj4nicd3lam762zwcgfgbpswy",
    ),
    (
        "ethaccount",
        "bafk2bzaceavjbtw4kchzkl3ev5f5gtvj47kmrcnm5p5qp2q7djb7gehqphbna",
    ),
    (
        "evm",
        "bafk2bzaceczoujfzxbd545thqczctcfza44marpmy2w3ykdw2tjatvwjd553i",
    ),
    (
        "init",
        "bafk2bzaceccs75hxap6gcyqxzuyouskj3aaq3iotobelo7zgnlwniq52cpck2",
    ),
    (
        "multisig",
        "bafk2bzacedh5u5kmprztmjvprxs7cbhqgtxbikkoftk4caozszdabcnbvosas",
    ),
    (
        "paymentchannel",
        "bafk2bzacedy3vcz5dqdvzhemvw72lhgsbtzik4sjmk6x5ddsw6xgxxh53kywo",
    ),
    (
        "placeholder",
        "bafk2bzacedfvut2myeleyq67fljcrw4kkmn5pb5dpyozovj7jpoez5irnc3ro",
    ),
    (
        "reward",
        "bafk2bzacectjhaxiy66w732cjhrciiwju7lslwii5txihqpmtbldmi2dsxo4w",
    ),
    (
        "storagemarket",
        "bafk2bzacedw3efzrlhmxna3yc4lnrbpiru6az5eot62irtvl7jzcwb5cfqqra",
    ),
    (
        "storageminer",
        "bafk2bzacebz6pb4vdnl74oekr53zui3mgnonzphlul7uzvsmxcles54f6pebg",
    ),
    (
        "storagepower",
        "bafk2bzaceal437l2hwjynf3pzvjbtnwlqn7p5gibdf7rkrauk6cnnwez7jtmw",
    ),
    (
        "system",
        "bafk2bzacebepha7cbha4yxlbouw6nn6lj55g3lyxjipdgs7ge3kzn7snlche6",
    ),
    (
        "verifiedregistry",
        "bafk2bzacec2jq75qmygdzgsbdilsfb6km2k2zko2gtcupnsexm7nt7lpwzk5e",
    ),
];

/// The code that a network of that version has for the actor whose code in the tree is `code`.
pub(crate) fn as_of(version: u32, code: Cid) -> Cid {
    if version > 27 {
        return code;
    }
    let name = code_name(&code);
    let old = CODES_V17.iter().find(|(known, _)| Some(*known) == name);
    old.and_then(|(_, text)| text.parse().ok()).unwrap_or(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::CODES;
    use std::collections::BTreeSet;

    #[test]
    fn every_actor_has_a_code_of_its_own_under_either_version() {
        let mut seen = BTreeSet::new();
        for (name, code) in CODES {
            let code: Cid = code.parse().unwrap();
            assert_eq!(as_of(28, code), code);
            let old = as_of(27, code);
            assert!(seen.insert(old), "{name}");
            // the one that runs nothing is the same in every version
            assert_eq!(old == code, name == "placeholder", "{name}");
        }
    }
}
