"""The processes that train one network together, and the devices that they use."""
