// Element's own encryption as a judge of the bot: excludes insecure devices, reads the bot's message, tells its shield.
//
// Arguments: folder of matrix-js-sdk, homeserver, user, password, room, the bot's id, words of its message. It says "!hello" in
// the room once it is ready, and prints what it sees as one line of JSON.

import { createRequire } from "node:module";

const [folder, homeserver, user, password, room, bot, words] = process.argv.slice(2);
const sdk = createRequire(`${folder}/`)("matrix-js-sdk");
const { OnlySignedDevicesIsolationMode } = createRequire(`${folder}/`)("matrix-js-sdk/lib/crypto-api");
const { logger } = createRequire(`${folder}/`)("matrix-js-sdk/lib/logger");
logger.setLevel?.("silent");
for (const name of ["log", "info", "debug", "trace", "warn"]) console[name] = () => {};

function fail(error) {
    process.stderr.write(`${error?.stack ?? error}\n`);
    process.exit(1);
}
process.on("unhandledRejection", fail);
setTimeout(() => fail("nothing was seen in two minutes"), 120_000);

const guest = sdk.createClient({ baseUrl: homeserver });
const login = await guest.login("m.login.password", { user, password });
const client = sdk.createClient({
    baseUrl: homeserver,
    userId: login.user_id,
    deviceId: login.device_id,
    accessToken: login.access_token,
});
await client.initRustCrypto({ useIndexedDB: false });
const crypto = client.getCrypto();
await crypto.bootstrapCrossSigning({
    authUploadDeviceSigningKeys: (upload) =>
        upload({ type: "m.login.password", identifier: { type: "m.id.user", user: login.user_id }, password }),
});
crypto.setDeviceIsolationMode(new OnlySignedDevicesIsolationMode());
await client.joinRoom(room);
await client.startClient({ initialSyncLimit: 50 });
await new Promise((ready) => client.on("sync", (state) => state === "PREPARED" && ready()));
await client.sendTextMessage(room, "!hello");

async function look(event) {
    if (event.getRoomId() !== room || event.getSender() !== bot || event.isDecryptionFailure()) return;
    if (!(event.getContent().body ?? "").includes(words)) return;
    const shield = await crypto.getEncryptionInfoForEvent(event);
    const devices = (await crypto.getUserDeviceInfo([bot], true)).get(bot) ?? new Map();
    const statuses = await Promise.all([...devices.keys()].map((id) => crypto.getDeviceVerificationStatus(bot, id)));
    const seen = {
        body: event.getContent().body,
        encrypted: event.isEncrypted(),
        shield: shield?.shieldColour,
        signed_by_owner: statuses.map((status) => status?.signedByOwner),
    };
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
}
client.on("Event.decrypted", (event) => look(event).catch(fail));
client.on("Room.timeline", (event) => look(event).catch(fail));
