from homeassistant import config_entries


class Flow(config_entries.ConfigFlow, domain="voice"):
    async def async_step_user(self, user_input=None):
        return self.async_create_entry(title="Voice", data={})
