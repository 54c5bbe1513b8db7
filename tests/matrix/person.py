#!/usr/bin/env python3
"""A person on Matrix, for the tests: matrix-nio with encryption, driven by JSON lines.

Each line on standard input is an order {"do": NAME, ...}; each answer is one line {"ok": VALUE} or {"error": TEXT}. The
person's device is cross-signed on request with keys made here, since nio cannot do that, and the signatures of others are
checked here with signedjson, so that nothing of matrix-sdk judges matrix-sdk.
"""

import asyncio
import json
import sys
import tempfile
import uuid

import aiohttp
from nacl.signing import SigningKey
from nio import AsyncClient, AsyncClientConfig, MegolmEvent, SyncResponse
from signedjson.key import decode_verify_key_bytes
from signedjson.sign import sign_json, verify_signed_json
from unpaddedbase64 import decode_base64, encode_base64


class Person:
    def __init__(self):
        self.client = None
        self.rooms = {}
        self.met = {}
        self.version = 0
        self.changed = asyncio.Condition()
        self.keys = asyncio.Lock()

    # --- what is seen ---

    def room(self, room):
        return self.rooms.setdefault(room, {"messages": {}, "typing": [], "receipts": {}, "unreadable": 0, "early": []})

    async def change(self):
        async with self.changed:
            self.version += 1
            self.changed.notify_all()

    def take(self, room_id, source, encrypted):
        room = self.room(room_id)
        content = source.get("content") or {}
        kind, sender, event = source.get("type"), source.get("sender"), source.get("event_id")
        relation = content.get("m.relates_to") or {}
        if kind == "m.room.message" and relation.get("rel_type") == "m.replace":
            self.edit(room, relation.get("event_id"), sender, content)
        elif kind == "m.room.message":
            room["messages"][event] = {
                "id": event,
                "sender": sender,
                "encrypted": encrypted,
                "edits": 0,
                "reactions": [],
                "redacted": "body" not in content,
                "thread": relation.get("event_id") if relation.get("rel_type") == "m.thread" else None,
                "reply_to": None
                if relation.get("is_falling_back")
                else (relation.get("m.in_reply_to") or {}).get("event_id"),
                "sent_at": source.get("origin_server_ts", 0),
                **self.shown(content),
            }
            for early in [it for it in room["early"] if it[0] == event]:
                self.react(room, *early)
        elif kind == "m.reaction" and "key" in relation:
            self.react(room, relation["event_id"], {"id": event, "sender": sender, "key": relation["key"]})
        elif kind == "m.room.redaction":
            self.redact(room, source.get("redacts") or content.get("redacts"))

    def shown(self, content):
        return {
            "kind": content.get("msgtype"),
            "text": content.get("body", ""),
            "html": content.get("formatted_body"),
            "mentions": content.get("m.mentions"),
        }

    def edit(self, room, event, sender, content):
        message = room["messages"].get(event)
        if message and message["sender"] == sender:
            message.update(self.shown(content.get("m.new_content") or {}))
            message["edits"] += 1

    def react(self, room, event, reaction):
        message = room["messages"].get(event)
        if message:
            message["reactions"].append(reaction)
        else:
            room["early"].append((event, reaction))

    def redact(self, room, event):
        for message in room["messages"].values():
            message["reactions"] = [it for it in message["reactions"] if it["id"] != event]
        if event in room["messages"]:
            room["messages"][event].update(text="", html=None, redacted=True)

    async def on_sync(self, response):
        for room_id, info in response.rooms.join.items():
            for event in info.timeline.events:
                if isinstance(event, MegolmEvent):
                    self.room(room_id)["unreadable"] += 1
                else:
                    self.take(room_id, event.source, bool(getattr(event, "decrypted", False)))
            for event in info.ephemeral:
                users = getattr(event, "users", None)
                if users is not None:
                    self.room(room_id)["typing"] = users
                for receipt in getattr(event, "receipts", []):
                    self.room(room_id)["receipts"][receipt.user_id] = receipt.event_id
        await self.change()

    # --- orders ---

    async def start(self, homeserver, user, password, store):
        config = AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True, max_limit_exceeded=None)
        self.client = AsyncClient(homeserver, user, store_path=store, config=config)
        self.password = password
        answer = await self.client.login(password, device_name="person")
        if not self.client.user_id or not self.client.access_token:
            raise RuntimeError(str(answer))
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        self.loop = asyncio.create_task(self.run())
        return {"user": self.client.user_id, "device": self.client.device_id}

    async def run(self):
        """A loop of our own: nio's loses an answer when a request beside it fails."""
        sync_filter = {"room": {"timeline": {"limit": 200}}, "presence": {"types": []}}
        timeout = 0
        while True:
            try:
                response = await self.client.sync(timeout=timeout, sync_filter=sync_filter)
                if isinstance(response, SyncResponse):
                    await self.on_sync(response)
                    timeout = 30000
                else:
                    await asyncio.sleep(0.3)
                await self.look_after_keys()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                print(f"person: {error!r}", file=sys.stderr)
                await asyncio.sleep(0.3)

    async def look_after_keys(self, users=()):
        async with self.keys:
            # Inside: the answer to a query under way would take these for queried.
            self.client.olm.users_for_key_query.update(users)
            if self.client.should_upload_keys:
                await self.client.keys_upload()
            if self.client.should_query_keys:
                await self.client.keys_query()
            if self.client.should_claim_keys:
                await self.client.keys_claim(self.client.get_users_for_key_claiming())
            await self.client.send_to_device_messages()

    async def request(self, method, path, body=None):
        url = f"{self.client.homeserver}{path}"
        headers = {"Authorization": f"Bearer {self.client.access_token}"}
        async with aiohttp.ClientSession() as session:
            async with session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)

    async def asked(self, method, path, body=None):
        status, answer = await self.request(method, path, body)
        if status != 200:
            raise RuntimeError(f"{status} {answer}")
        return answer

    async def create_room(self, encrypted=False, invite=(), direct=False, predecessor=None):
        state = []
        if encrypted:
            state.append({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}})
        body = {"preset": "private_chat", "invite": list(invite), "is_direct": direct, "initial_state": state}
        if predecessor:
            body["creation_content"] = {"predecessor": {"room_id": predecessor}}
        room = (await self.asked("POST", "/_matrix/client/v3/createRoom", body))["room_id"]
        await self.until(lambda: room in self.client.rooms)
        return room

    async def join(self, room):
        await self.asked("POST", f"/_matrix/client/v3/join/{room}", {})
        await self.until(lambda: room in self.client.rooms)

    async def invitation(self):
        """A room to which somebody has invited this person."""
        await self.until(lambda: self.client.invited_rooms)
        return next(iter(self.client.invited_rooms))

    async def invite(self, room, user):
        await self.asked("POST", f"/_matrix/client/v3/rooms/{room}/invite", {"user_id": user})

    async def kick(self, room, user):
        await self.asked("POST", f"/_matrix/client/v3/rooms/{room}/kick", {"user_id": user, "reason": "a test"})

    async def messages_need(self, room, level):
        """From now on messages need this power level, which only the room's creator has."""
        path = f"/_matrix/client/v3/rooms/{room}/state/m.room.power_levels"
        levels = await self.asked("GET", path)
        await self.asked("PUT", path, {**levels, "events_default": level, "events": {}})

    async def until(self, condition):
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), 60)

    async def send(self, room, content, kind="m.room.message"):
        if self.client.rooms[room].encrypted:
            await self.meet_devices(room)
        answer = await self.client.room_send(
            room, kind, content, tx_id=str(uuid.uuid4()), ignore_unverified_devices=True
        )
        if not hasattr(answer, "event_id"):
            raise RuntimeError(str(answer))
        return answer.event_id

    async def meet_devices(self, room):
        """Apps give their key to devices that have come since; nio does not, so that a new key is made for them."""
        await self.client.joined_members(room)
        users = set(self.client.rooms[room].users)
        await self.look_after_keys(users)
        # Nor does nio ever give it to a device with which it has no channel when it first speaks.
        for _ in range(50):
            missing = self.client.get_missing_sessions(room)
            if not missing:
                break
            async with self.keys:
                await self.client.keys_claim(missing)
            await asyncio.sleep(0.1)
        devices = {(user, it.id) for user in users for it in self.client.device_store.active_user_devices(user)}
        if self.met.get(room) != devices:
            self.met[room] = devices
            self.client.invalidate_outbound_session(room)

    async def send_plain(self, room, content):
        path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{uuid.uuid4()}"
        return (await self.asked("PUT", path, content))["event_id"]

    async def send_file(self, room, kind, name, data, caption=None, info=None, plain=False, spoil=False):
        """A file, encrypted where the room is; `spoil` gives it the hash of another one."""
        content, encrypted = bytes.fromhex(data), self.client.rooms[room].encrypted and not plain
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            answer, key = await self.client.upload(
                lambda *_: file.name, filename=name, encrypt=encrypted, filesize=len(content)
            )
        if not hasattr(answer, "content_uri"):
            raise RuntimeError(str(answer))
        if spoil:
            key["hashes"]["sha256"] = encode_base64(bytes(32))
        place = {"file": {**key, "url": answer.content_uri}} if encrypted else {"url": answer.content_uri}
        event = {"body": caption or name, "info": {"size": len(content), **(info or {})}, **place}
        if kind == "m.sticker":
            return await self.send(room, event, kind)
        return await self.send(room, {"msgtype": kind, "filename": name, "m.mentions": {}, **event})

    async def upgrade(self, room):
        path = f"/_matrix/client/v3/rooms/{room}/upgrade"
        new = (await self.asked("POST", path, {"new_version": "12"}))["replacement_room"]
        await self.until(lambda: new in self.client.rooms)
        return new

    async def set_state(self, room, kind, content):
        await self.asked("PUT", f"/_matrix/client/v3/rooms/{room}/state/{kind}", content)

    async def redact_event(self, room, event):
        path = f"/_matrix/client/v3/rooms/{room}/redact/{event}/{uuid.uuid4()}"
        return (await self.asked("PUT", path, {}))["event_id"]

    async def see(self, room, since=-1):
        """The room, as soon as anything is newer than `since`, or after a second."""
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: self.version > since), 1)
            except asyncio.TimeoutError:
                pass
        seen = self.room(room)
        messages = sorted(seen["messages"].values(), key=lambda it: it["sent_at"])
        return {
            "version": self.version,
            "messages": messages,
            "typing": seen["typing"],
            "receipts": seen["receipts"],
            "unreadable": seen["unreadable"],
        }

    async def members(self, room):
        answer = await self.asked("GET", f"/_matrix/client/v3/rooms/{room}/members")
        return {it["state_key"]: it["content"]["membership"] for it in answer["chunk"]}

    async def edits(self, room, event):
        """How many edits the homeserver has of an event."""
        path = f"/_matrix/client/v1/rooms/{room}/relations/{event}/m.replace?limit=500"
        return len((await self.asked("GET", path))["chunk"])

    async def token(self):
        return self.client.access_token

    async def send_undecryptable(self, room):
        """An encrypted message of this device with a key that nobody was given."""
        from vodozemac import GroupSession

        session = GroupSession()
        inner = {"type": "m.room.message", "room_id": room, "content": {"msgtype": "m.text", "body": "!lost"}}
        content = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": session.encrypt(json.dumps(inner).encode()).to_base64(),
            "sender_key": self.client.olm.account.identity_keys["curve25519"],
            "device_id": self.client.device_id,
            "session_id": session.session_id,
        }
        path = f"/_matrix/client/v3/rooms/{room}/send/m.room.encrypted/{uuid.uuid4()}"
        return (await self.asked("PUT", path, content))["event_id"]

    # --- identities ---

    async def cross_sign(self):
        user, device = self.client.user_id, self.client.device_id
        keys = {name: SigningKey.generate() for name in ("master", "self_signing", "user_signing")}
        public = {name: encode_base64(bytes(key.verify_key)) for name, key in keys.items()}
        master = Signer(keys["master"], public["master"])
        body = {}
        for name in keys:
            value = {"user_id": user, "usage": [name], "keys": {f"ed25519:{public[name]}": public[name]}}
            body[f"{name}_key"] = value if name == "master" else sign_json(value, user, master)
        path = "/_matrix/client/v3/keys/device_signing/upload"
        status, answer = await self.request("POST", path, body)
        if status == 401:
            identifier = {"type": "m.id.user", "user": user}
            body["auth"] = {
                "type": "m.login.password",
                "identifier": identifier,
                "password": self.password,
                "session": answer["session"],
            }
            status, answer = await self.request("POST", path, body)
        if status != 200:
            raise RuntimeError(f"{status} {answer}")
        query = await self.asked("POST", "/_matrix/client/v3/keys/query", {"device_keys": {user: [device]}})
        own = query["device_keys"][user][device]
        own.pop("unsigned", None)
        signed = sign_json(own, user, Signer(keys["self_signing"], public["self_signing"]))
        answer = await self.asked("POST", "/_matrix/client/v3/keys/signatures/upload", {user: {device: signed}})
        if answer.get("failures"):
            raise RuntimeError(str(answer["failures"]))

    async def devices_of(self, user):
        """Each device of a user, and whether the user's own identity has signed it."""
        query = await self.asked("POST", "/_matrix/client/v3/keys/query", {"device_keys": {user: []}})
        master = query.get("master_keys", {}).get(user)
        signing = query.get("self_signing_keys", {}).get(user)
        signed = {}
        for device, value in query["device_keys"].get(user, {}).items():
            try:
                verify(signing, user, master)
                verify(value, user, signing)
                signed[device] = True
            except Exception as error:
                print(f"person: {device}: {error!r}", file=sys.stderr)
                signed[device] = False
        return {"master": next(iter(master["keys"].values())) if master else None, "devices": signed}


class Signer:
    """A key as signedjson wants it, named by its own public part."""

    alg = "ed25519"

    def __init__(self, key, version):
        self.key, self.version = key, version

    def sign(self, message):
        return self.key.sign(message)


def verify(value, user, by):
    (name, public), = by["keys"].items()
    key = decode_verify_key_bytes(name, decode_base64(public))
    verify_signed_json({k: v for k, v in value.items() if k != "unsigned"}, user, key)


async def main():
    person = Person()
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        name = order.pop("do")
        try:
            answer = {"ok": await getattr(person, name)(**order)}
        except Exception as error:
            answer = {"error": f"{name}: {error!r}"}
        print(json.dumps(answer), flush=True)


asyncio.run(main())
