"""An app on Slack's official SDK (slack_bolt), which the stand-in Slack must satisfy. Says on standard output what it hears.

Arguments: the Web API's address; `socket`, or `http PORT`.
"""
import json
import logging
import sys
import threading
import time

from urllib.request import Request, urlopen

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler

BOT_TOKEN, APP_TOKEN = "xoxb-m4rked-5ecret", "xapp-m4rked-5ecret"
SIGNING_SECRET = "8f742231b10e8888m4rked-5ecret"

logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
url = sys.argv[1].rstrip("/") + "/"
client = WebClient(token=BOT_TOKEN, base_url=url, retry_handlers=[RateLimitErrorRetryHandler(max_retry_count=2)])
app = App(client=client, signing_secret=SIGNING_SECRET)


telling = threading.Lock()


def tell(what, **more):
    # Handlers run in threads of their own, and a line is printed in two parts.
    with telling:
        print(json.dumps({"heard": what, **more}), flush=True)


@app.event("app_mention")
def mention(event, say):
    tell("mention", text=event["text"], ts=event["ts"])
    say(text="you called", thread_ts=event["ts"])


@app.event("message")
def message(event, say, client):
    if event.get("subtype") == "file_share":
        about = client.files_info(file=event["files"][0]["id"])["file"]
        request = Request(about["url_private_download"], headers={"Authorization": f"Bearer {client.token}"})
        with urlopen(request) as answer:
            tell("file", name=event["files"][0]["name"], content=answer.read().decode())
        return
    if event.get("attachments"):
        share = event["attachments"][0]
        tell("forward", text=share["text"], author=share["author_id"], is_share=share["is_share"])
        return
    if event.get("bot_id") or event.get("subtype"):
        tell(event.get("subtype") or "bot")
        return
    tell("message", text=event["text"], channel_type=event.get("channel_type"), thread=event.get("thread_ts"))
    if event["text"] == "slow":
        time.sleep(4)
    elif event["text"] == "buttons":
        button = {"type": "button", "action_id": "pick", "value": "yes", "text": {"type": "plain_text", "text": "Allow"}}
        say(text="may I?", blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "may I?"}},
                                   {"type": "actions", "elements": [button]}])
    elif event["text"] == "file":
        client.files_upload_v2(channel=event["channel"], filename="a.txt", content="from a file", initial_comment="look")
    elif event["text"] == "thread":
        # The SDK itself goes from page to page.
        pages = client.conversations_replies(channel=event["channel"], ts=event["thread_ts"], latest=event["ts"], limit=2)
        tell("thread", texts=[said["text"] for page in pages for said in page["messages"]])
    elif event["text"] == "limit":
        say(text="after the limit")
    elif event["text"] == "faults":
        for name, call in {
            "unknown": lambda: client.chat_update(channel="C1", ts="1.1", text="x"),
            "outside": lambda: client.chat_postMessage(channel="C2", text="x"),
            "blocks": lambda: client.chat_postMessage(channel="C1", text="x", blocks=[{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]),
            "token": lambda: WebClient(token="xoxb-wrong", base_url=url).auth_test(),
        }.items():
            try:
                call()
                tell("fault", name=name, error=None)
            except SlackApiError as error:
                tell("fault", name=name, error=error.response["error"])
    else:
        client.reactions_add(channel=event["channel"], timestamp=event["ts"], name="eyes")
        name = client.users_info(user=event["user"])["user"]["profile"]["display_name"]
        sent = say(text=f"hello {name}")
        client.chat_update(channel=event["channel"], ts=sent["ts"], text="x", blocks=[{"type": "markdown", "text": f"**hello** {name}, edited"}])


@app.command("/storkit")
def command(ack, respond, command):
    ack("working on it")
    tell("command", text=command["text"], user=command["user_name"])
    respond("done: " + command["text"])


@app.action("pick")
def pick(ack, body, action, client):
    ack()
    tell("action", value=action["value"], user=body["user"]["id"])
    client.chat_update(channel=body["channel"]["id"], ts=body["message"]["ts"], text="decided", blocks=[])
    client.chat_postEphemeral(channel=body["channel"]["id"], user=body["user"]["id"], text="only you see this")


tell("auth", user=client.auth_test()["user_id"])
if sys.argv[2] == "http":
    tell("ready")
    app.start(port=int(sys.argv[3]), path="/slack")
else:
    handler = SocketModeHandler(app, APP_TOKEN, web_client=client, ping_interval=2)
    handler.client.default_ping_pong_trace_enabled = False
    handler.connect()
    tell("ready")
    while True:
        time.sleep(60)
