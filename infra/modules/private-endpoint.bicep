// An address in the virtual network for one service of one resource.
param name string
param location string
param tags object
param subnetId string
param resourceId string
@description('Which of the services of the resource: `blob`, `account`, `searchService`.')
param group string
@description('Zones of network.bicep in which the address gets its name.')
param zones array

resource dnsZones 'Microsoft.Network/privateDnsZones@2024-06-01' existing = [for zone in zones: {
  name: zone
}]

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: group
        properties: {
          privateLinkServiceId: resourceId
          groupIds: [
            group
          ]
        }
      }
    ]
  }
}

resource dns 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [for (zone, i) in zones: {
      name: replace(zone, '.', '-')
      properties: {
        privateDnsZoneId: dnsZones[i].id
      }
    }]
  }
}
