//! The state tree: actors by ID in a HAMT under a `StateRoot`, and the init actor's map of
//! addresses. A `Tree` holds changes in memory until `flush`.
use std::collections::BTreeMap;

use anyhow::Context;
use cid::Cid;
use fvm_ipld_encoding::CborStore;
use fvm_ipld_encoding::tuple::{Deserialize_tuple, Serialize_tuple};
use fvm_ipld_hamt::{BytesKey, Hamt};
use fvm_shared::address::{Address, Payload, Protocol};
use fvm_shared::econ::TokenAmount;
use fvm_shared::state::{ActorState, StateInfo0, StateRoot, StateTreeVersion};
use fvm_shared::{ActorID, HAMT_BIT_WIDTH};
use multihash_codetable::Code;

use crate::{message::cbor_cid, store::Store};

pub const SYSTEM: ActorID = 0;
pub const INIT: ActorID = 1;
pub const REWARD: ActorID = 2;
pub const CRON: ActorID = 3;
pub const POWER: ActorID = 4;
pub const MARKET: ActorID = 5;
pub const VERIFIED_REGISTRY: ActorID = 6;
pub const DATACAP: ActorID = 7;
pub const BURNT_FUNDS: ActorID = 99;
/// First ID of actors that are not part of the network itself.
pub const FIRST_USER: ActorID = 100;

/// Code CIDs of the v18 "devnet" bundle of builtin actors, as every node of a 2k network
/// knows them (Lotus `build/builtin_actors_gen.go`).
pub const CODES: [(&str, &str); 16] = [
    (
        "account",
        "bafk2bzacedpmhtrp2kdjoga2phrbi3f7z7wn25s3tluxoagcu7hsg2ppktxbw",
    ),
    (
        "cron",
        "bafk2bzacedrv5m6tczd6dz6ly3zmenkljnokovduvgkbmgxvsawbalerciieg",
    ),
    (
        "datacap",
        "bafk2bzaceamho7atkl2a7c3m3t24v6tf3wzceaewp3ph6rjmwza3xdy3gmqb6",
    ),
    (
        "eam",
        "bafk2bzaceaxpy4ilqlibpgytnt5ucmju2ooi3bqwca6dngwy6hlzmshyjpafw",
    ),
    (
        "ethaccount",
        "bafk2bzacedsbwrrjywdmxeluuzwfhmam2jmrm6ivj72ggw6qaijcx7ilw5fvk",
    ),
    (
        "evm",
        "bafk2bzacec273j42hyrcaeqms6xuuezkozjhptmyniwtr7y4jzjdoflccn2is",
    ),
    (
        "init",
        "bafk2bzaced23vlf6nemlulavy2ouxuvudxe3jbu4klc74tcgruafrqu2fnt3c",
    ),
    (
        "multisig",
        "bafk2bzacecquc4zxikmjfwsiyzx4tbxlsvauf53c7spf3hdz6jwmkczyqwbrg",
    ),
    (
        "paymentchannel",
        "bafk2bzacecf3jaqzs757hmyxpthnj7vaxr2z6h5v6yubptvqasgabxiubeoim",
    ),
    (
        "placeholder",
        "bafk2bzacedfvut2myeleyq67fljcrw4kkmn5pb5dpyozovj7jpoez5irnc3ro",
    ),
    (
        "reward",
        "bafk2bzacedchalmz2omgitfunbqg5opzcvrlvju77k6dr5zt2poyy7jjzkvwa",
    ),
    (
        "storagemarket",
        "bafk2bzacecjrg6jueodndhwtkaa3n2v2tkjakmzu4c57hrhg5ige4d4kjggcg",
    ),
    (
        "storageminer",
        "bafk2bzacedhvcxgdz2w75izwa5s5dwvsrxsnzkjcbpbresziyrrjrsvjzwvxe",
    ),
    (
        "storagepower",
        "bafk2bzacebydegz3ap6xgejojdu3usfddhyrj476f25ooahgcqko6d7djynas",
    ),
    (
        "system",
        "bafk2bzacedced5maxljwmavukjvtnmknpzoullfcwk3upaz5x5hvvdl2pk24e",
    ),
    (
        "verifiedregistry",
        "bafk2bzaceccqnqgyehy72nkmujvpyibikslvpyxfhpqivzjmbkmdbme5xzm2u",
    ),
];

/// Code CID of a builtin actor by its name in [`CODES`].
pub fn code(name: &str) -> anyhow::Result<Cid> {
    let (_, text) = CODES
        .iter()
        .find(|(known, _)| *known == name)
        .with_context(|| format!("no builtin actor is called {name}"))?;
    Ok(text.parse()?)
}

/// Name of the builtin actor with this code.
pub fn code_name(code: &Cid) -> Option<&'static str> {
    let text = code.to_string();
    CODES
        .iter()
        .find(|(_, c)| *c == text)
        .map(|(name, _)| *name)
}

/// State of an account actor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct AccountState {
    pub address: Address,
}

/// State of the init actor.
#[derive(Clone, Debug, Serialize_tuple, Deserialize_tuple)]
pub struct InitState {
    /// HAMT of address bytes to actor ID.
    pub address_map: Cid,
    pub next_id: ActorID,
    pub network_name: String,
}

/// State of the network's own actors that keep none here.
pub const BLANK: [u8; 0] = [];

type ActorMap = Hamt<Store, ActorState>;
type AddressMap = Hamt<Store, ActorID>;

fn actor_key(id: ActorID) -> BytesKey {
    BytesKey(Address::new_id(id).to_bytes())
}

/// One version of the state, with changes that were not written yet.
#[derive(Clone, Debug)]
pub struct Tree {
    store: Store,
    root: Cid,
    changed: BTreeMap<ActorID, ActorState>,
}

impl Tree {
    /// A tree with nothing in it.
    pub fn empty(store: &Store) -> anyhow::Result<Self> {
        let actors = ActorMap::new_with_bit_width(store.clone(), HAMT_BIT_WIDTH).flush()?;
        let info = store.put(&StateInfo0::default())?;
        let root = store.put(&StateRoot {
            version: StateTreeVersion::V5,
            actors,
            info,
        })?;
        Ok(Self::at(store, root))
    }

    /// The tree under a root.
    pub fn at(store: &Store, root: Cid) -> Self {
        Tree {
            store: store.clone(),
            root,
            changed: BTreeMap::new(),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    fn state_root(&self) -> anyhow::Result<StateRoot> {
        self.store.read(&self.root)
    }

    /// The actor, if there is one.
    pub fn actor(&self, id: ActorID) -> anyhow::Result<Option<ActorState>> {
        if let Some(actor) = self.changed.get(&id) {
            return Ok(Some(actor.clone()));
        }
        let map = ActorMap::load_with_bit_width(
            &self.state_root()?.actors,
            self.store.clone(),
            HAMT_BIT_WIDTH,
        )?;
        Ok(map.get(&actor_key(id))?.cloned())
    }

    /// The actor; a missing one is an error.
    pub fn must(&self, id: ActorID) -> anyhow::Result<ActorState> {
        self.actor(id)?
            .with_context(|| format!("actor f0{id} is not in the state"))
    }

    pub fn set(&mut self, id: ActorID, actor: ActorState) {
        self.changed.insert(id, actor);
    }

    /// All actors by ID.
    pub fn all(&self) -> anyhow::Result<BTreeMap<ActorID, ActorState>> {
        let map = ActorMap::load_with_bit_width(
            &self.state_root()?.actors,
            self.store.clone(),
            HAMT_BIT_WIDTH,
        )?;
        let mut all = BTreeMap::new();
        map.for_each(|key, actor| {
            if let Payload::ID(id) = Address::from_bytes(&key.0)?.payload() {
                all.insert(*id, actor.clone());
            }
            Ok(())
        })?;
        all.extend(self.changed.clone());
        Ok(all)
    }

    /// Decoded state of an actor.
    pub fn state<T: serde::de::DeserializeOwned>(&self, id: ActorID) -> anyhow::Result<T> {
        self.store.read(&self.must(id)?.state)
    }

    /// Whether an actor has no state of its own: one of the network's that keeps none here.
    pub fn is_blank(&self, id: ActorID) -> anyhow::Result<bool> {
        Ok(self.must(id)?.state == cbor_cid(&BLANK)?)
    }

    /// Replaces the state of an actor.
    pub fn put_state<T: serde::Serialize>(&mut self, id: ActorID, state: &T) -> anyhow::Result<()> {
        let mut actor = self.must(id)?;
        actor.state = self.store.put(state)?;
        self.set(id, actor);
        Ok(())
    }

    /// Adds (or with a negative amount takes) funds; the balance may not fall below zero.
    pub fn add_funds(&mut self, id: ActorID, amount: &TokenAmount) -> anyhow::Result<()> {
        let mut actor = self.must(id)?;
        actor.balance += amount;
        anyhow::ensure!(
            !actor.balance.is_negative(),
            "balance of f0{id} would fall below zero"
        );
        self.set(id, actor);
        Ok(())
    }

    /// Moves funds.
    pub fn transfer(
        &mut self,
        from: ActorID,
        to: ActorID,
        amount: &TokenAmount,
    ) -> anyhow::Result<()> {
        anyhow::ensure!(!amount.is_negative(), "a transfer cannot be negative");
        self.add_funds(from, &-amount.clone())?;
        self.add_funds(to, amount)
    }

    /// ID of any address, if the actor exists.
    pub fn resolve(&self, addr: &Address) -> anyhow::Result<Option<ActorID>> {
        if let Payload::ID(id) = addr.payload() {
            return Ok(self.actor(*id)?.map(|_| *id));
        }
        let Some(init) = self.actor(INIT)? else {
            return Ok(None);
        };
        let init: InitState = self.store.read(&init.state)?;
        let map =
            AddressMap::load_with_bit_width(&init.address_map, self.store.clone(), HAMT_BIT_WIDTH)?;
        Ok(map.get(&BytesKey(addr.to_bytes()))?.copied())
    }

    /// Makes an actor under a new ID and, when given, an address that leads to it.
    pub fn create(&mut self, addr: &Address, code: Cid, state: Cid) -> anyhow::Result<ActorID> {
        let mut init: InitState = self.state(INIT)?;
        let id = init.next_id;
        init.next_id += 1;
        init.address_map = self.map_address(&init.address_map, addr, id)?;
        self.put_state(INIT, &init)?;
        self.set(
            id,
            ActorState::new(code, state, TokenAmount::default(), 0, None),
        );
        Ok(id)
    }

    fn map_address(&self, map: &Cid, addr: &Address, id: ActorID) -> anyhow::Result<Cid> {
        let mut map = AddressMap::load_with_bit_width(map, self.store.clone(), HAMT_BIT_WIDTH)?;
        map.set(BytesKey(addr.to_bytes()), id)?;
        Ok(map.flush()?)
    }

    /// Makes the account of a key address.
    pub fn create_account(&mut self, key: &Address) -> anyhow::Result<ActorID> {
        anyhow::ensure!(
            matches!(key.protocol(), Protocol::Secp256k1 | Protocol::BLS),
            "{key} is not a key address"
        );
        let state = self.store.put(&AccountState { address: *key })?;
        self.create(key, code("account")?, state)
    }

    /// Puts the init actor in place.
    pub fn set_up_init(&mut self, network_name: &str, next_id: ActorID) -> anyhow::Result<()> {
        let address_map =
            AddressMap::new_with_bit_width(self.store.clone(), HAMT_BIT_WIDTH).flush()?;
        let state = self.store.put(&InitState {
            address_map,
            next_id,
            network_name: network_name.to_owned(),
        })?;
        self.set(
            INIT,
            ActorState::new(code("init")?, state, TokenAmount::default(), 0, None),
        );
        Ok(())
    }

    /// ID that the next new actor gets.
    pub fn next_id(&self) -> anyhow::Result<ActorID> {
        Ok(self.state::<InitState>(INIT)?.next_id)
    }

    /// Lets the next new actor have this ID (genesis only).
    pub fn set_next_id(&mut self, next_id: ActorID) -> anyhow::Result<()> {
        let mut init: InitState = self.state(INIT)?;
        init.next_id = next_id;
        self.put_state(INIT, &init)
    }

    /// Key address of an account; None for other actors.
    pub fn account_key(&self, id: ActorID) -> anyhow::Result<Option<Address>> {
        let Some(actor) = self.actor(id)? else {
            return Ok(None);
        };
        if actor.code != code("account")? {
            return Ok(None);
        }
        let state: AccountState = self.store.read(&actor.state)?;
        Ok(Some(state.address))
    }

    /// Writes the changes; the new root.
    pub fn flush(&mut self) -> anyhow::Result<Cid> {
        if self.changed.is_empty() {
            return Ok(self.root);
        }
        let mut root = self.state_root()?;
        let mut map =
            ActorMap::load_with_bit_width(&root.actors, self.store.clone(), HAMT_BIT_WIDTH)?;
        for (id, actor) in std::mem::take(&mut self.changed) {
            map.set(actor_key(id), actor)?;
        }
        root.actors = map.flush()?;
        self.root = self.store.put_cbor(&root, Code::Blake2b256)?;
        Ok(self.root)
    }
}
