"""An independent webhook: pywa takes what the stand-in Graph API calls. Prints its port, then one JSON line for each update."""
import json
import socket
import sys

import uvicorn
from fastapi import FastAPI
from pywa import WhatsApp, filters

phone_id, token, app_secret, verify_token = sys.argv[1:5]
app = FastAPI()
wa = WhatsApp(phone_id=phone_id, token=token, server=app, verify_token=verify_token, app_secret=app_secret,
              webhook_endpoint="/webhook/whatsapp")


def tell(kind, update, **more):
    user = update.from_user
    print(json.dumps({"kind": kind, "id": update.id, "user_id": user.bsuid, "number": user.wa_id, "name": user.name, **more}),
          flush=True)


@wa.on_message(filters.text)
def text(_, message):
    reply = message.reply_to_message.id if message.reply_to_message else None
    tell("text", message, text=message.text, reply_to=reply, forwarded=message.forwarded, seconds=int(message.timestamp.timestamp()))


@wa.on_message(filters.image)
def image(_, message):
    tell("image", message, text=message.caption, mime=message.image.mime_type)


@wa.on_message(filters.audio)
def audio(_, message):
    tell("audio", message, text=message.audio.id, voice=message.audio.voice)


@wa.on_message(filters.document)
def document(_, message):
    tell("document", message, text=message.document.filename)


@wa.on_message(filters.reaction)
def reaction(_, message):
    tell("reaction", message, text=message.reaction.emoji)


@wa.on_callback_button
def button(_, press):
    tell("button", press, text=press.data, reply_to=press.reply_to_message.id)


@wa.on_edited_message
def edited(_, message):
    tell("edit", message, text=message.message.text)


@wa.on_deleted_message
def deleted(_, message):
    tell("revoke", message, text=message.original_message_id)


@wa.on_message_status
def status(_, status):
    error = status.error.code if status.error else None
    tell("status", status, text=status.status.value, code=error)


listening = socket.socket()
listening.bind(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
