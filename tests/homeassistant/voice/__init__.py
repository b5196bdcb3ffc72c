"""A voice for a house without any: what it is to say is all that matters."""
from homeassistant.const import Platform


async def async_setup_entry(hass, entry):
    await hass.config_entries.async_forward_entry_setups(entry, [Platform.TTS])
    return True
