"""An independent client: pywa sends everything storkit sends, to the stand-in Graph API. Prints what it got as JSON, and
after a line on standard input what three more messages got."""
import json
import sys

from pywa import WhatsApp
from pywa.errors import WhatsAppError
from pywa.types import Button, Command, Section, SectionList, SectionRow
from pywa.types.templates import BodyText, TemplateLanguage

url, phone_id, token, number, user_id, message = sys.argv[1:7]


def client(token):
    wa = WhatsApp(phone_id=phone_id, token=token)
    # The SDK has Meta's address built in.
    wa.api._session.base_url = url
    return wa


def refused(call):
    try:
        return {"ok": str(call())}
    except WhatsAppError as error:
        return {"type": type(error).__name__, "code": error.code, "details": error.details}


wa = client(token)
sent = {
    "text": wa.send_message(to=number, text="Hello *there*", reply_to_message_id=message).id,
    "by_user_id": wa.send_message(to=user_id, text="by user id").id,
    "buttons": wa.send_message(to=number, text="May I?", buttons=[Button("Allow", "q:1:yes"), Button("Deny", "q:1:no")]).id,
    "list": wa.send_message(to=number, text="Which?", buttons=SectionList("Choose", [
        Section("All", [SectionRow("One", "q:2:1"), SectionRow("Two", "q:2:2", description="the second")])])).id,
    "document": wa.send_document(to=number, document=b"a log\n", filename="log.txt", caption="The log.", mime_type="text/plain").id,
    "reaction": wa.send_reaction(to=number, emoji="\U0001F44D", message_id=message).id,
    "template": wa.send_template(to=number, name="storkit_notice", language=TemplateLanguage.GERMAN,
                                 params=[BodyText.params("Story 1 is done.")]).id,
}
marks = [bool(wa.mark_message_as_read(message)), bool(wa.indicate_typing(message))]
uploaded = wa.upload_media(media=b"bytes", mime_type="text/plain", filename="a.txt")
media = wa.get_media_url(uploaded.id)
menu_set = bool(wa.update_conversational_automation(commands=[Command(name="status", description="Show what runs")]))
about = wa.get_business_phone_number()
print(json.dumps({
    "sent": sent,
    "marks": marks,
    "downloaded": wa.get_media_bytes(media.url).decode(),
    "menu": menu_set,
    "commands": [command.name for command in about.conversational_automation.commands],
    "number": about.display_phone_number,
    "refused": {
        "token": refused(lambda: client("another").send_message(to=number, text="x")),
        "title": refused(lambda: wa.send_message(to=number, text="x", buttons=[Button("a" * 21, "k")])),
        "four": refused(lambda: wa.send_message(to=number, text="x", buttons=[Button(str(n), str(n)) for n in range(4)])),
        "long": refused(lambda: wa.send_message(to=number, text="x" * 4097)),
        "template": refused(lambda: wa.send_template(to=number, name="unknown", language=TemplateLanguage.GERMAN,
                                                     params=[BodyText.params("x")])),
    },
}), flush=True)
# The test lays out faults and says so.
sys.stdin.readline()
print(json.dumps([refused(lambda: wa.send_message(to=number, text="x")) for _ in range(3)]))
