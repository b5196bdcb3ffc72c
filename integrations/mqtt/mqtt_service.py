"""MQTT as a service: publishes messages, and reads the message that a broker keeps for a topic."""

import asyncio
import threading
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

from agentpass.config import ServiceConfig, ToolDefinition
from agentpass.executor import ExecutionError
from agentpass.services.base import ServiceHandler

CONFIRMED_WITHIN = 10.0
RETAINED_WITHIN = 2.0


class MQTTService(ServiceHandler):
    """``url`` is mqtt://HOST[:PORT] or mqtts://; ``auth`` is none, basic, or bearer with the password as its token."""

    def __init__(self, config: ServiceConfig, tools: list[ToolDefinition]) -> None:
        where = urlsplit(config.url)
        is_encrypted = where.scheme == "mqtts"
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        password = config.auth.password or config.auth.token
        if password:
            self.client.username_pw_set(config.auth.username or "agentpass", password)
        if is_encrypted:
            self.client.tls_set()
        self.client.connect_async(where.hostname or "localhost", where.port or (8883 if is_encrypted else 1883))
        self.client.loop_start()

    async def execute(self, tool_name: str, args: dict) -> dict:
        if not await self.health_check():
            raise ExecutionError("not connected to the broker")
        if tool_name == "mqtt_publish":
            return await asyncio.to_thread(self._publish, args["topic"], args["payload"], args.get("retain", False))
        if tool_name == "mqtt_get":
            return await asyncio.to_thread(self._retained, args["topic"])
        raise ExecutionError(f"no such tool: {tool_name}")

    def _publish(self, topic: str, payload: str, retain: bool) -> dict:
        sent = self.client.publish(topic, payload, qos=1, retain=retain)
        sent.wait_for_publish(CONFIRMED_WITHIN)
        if not sent.is_published():
            raise ExecutionError("the broker has not confirmed the message: it may have been published or not")
        return {"topic": topic, "published": True}

    def _retained(self, topic: str) -> dict:
        found: list[bytes] = []
        arrived = threading.Event()

        def on_message(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
            found.append(message.payload)
            arrived.set()

        self.client.message_callback_add(topic, on_message)
        self.client.subscribe(topic)
        arrived.wait(RETAINED_WITHIN)
        self.client.unsubscribe(topic)
        self.client.message_callback_remove(topic)
        return {"topic": topic, "payload": found[0].decode(errors="replace") if found else None}

    async def health_check(self) -> bool:
        for _ in range(20):
            if self.client.is_connected():
                return True
            await asyncio.sleep(0.1)
        return False

    async def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
