// Element's own encryption as a judge of the bot, with insecure devices excluded.
//
// Arguments: what to do, folder of matrix-js-sdk, homeserver, user, password, room, the bot's id, words. Prints what it sees as
// one line of JSON.
// "look": says "!hello" in the room once it is ready; what it sees is the bot's message with these words, and its shield.
// "verify": asks the bot in the room for a verification by emoji and confirms; what it sees are the emoji.

import { createRequire } from "node:module";

const [what, folder, homeserver, user, password, room, bot, words] = process.argv.slice(2);
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
async function verify() {
    const request = await crypto.requestVerificationDM(bot, room);
    await new Promise((ready) => {
        const check = () => request.phase >= 3 && ready();
        request.on("change", check);
        check();
    });
    const verifier = await request.startVerification("m.sas.v1");
    let emoji;
    verifier.on("show_sas", (shown) => {
        emoji = shown.sas.emoji;
        shown.confirm().catch(fail);
    });
    await verifier.verify();
    // True once the person's signature has gone to the homeserver and come back.
    let verified = false;
    for (let n = 0; n < 100 && !verified; n++) {
        await crypto.getUserDeviceInfo([bot], true);
        verified = (await crypto.getUserVerificationStatus(bot)).isCrossSigningVerified();
        if (!verified) await new Promise((later) => setTimeout(later, 200));
    }
    const seen = { emoji, verified };
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
}

if (what === "verify") {
    await verify();
} else {
    client.on("Event.decrypted", (event) => look(event).catch(fail));
    client.on("Room.timeline", (event) => look(event).catch(fail));
    await client.sendTextMessage(room, "!hello");
}
