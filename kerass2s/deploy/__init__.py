"""Deployment: folders that a server takes as they are, made of exports, and a client to ask one.

What is here is asked for by its file (`kerass2s.deploy.client`, say): a client needs no TensorFlow to speak REST.
"""
